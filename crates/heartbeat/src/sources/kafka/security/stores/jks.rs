//! Java's own store of keys and certificates (JKS), as `sun.security.provider.JavaKeyStore` and `KeyProtector` write it.
//!
//! The store's password only proves that nobody changed it (a SHA-1 over password and content); certificates can be
//! read without. Each key is hidden by a stream of SHA-1 over its own password.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use rustls::pki_types::CertificateDer;

use super::StoreProblem;

const MAGIC: &[u8] = &[0xfe, 0xed, 0xfe, 0xed];
const SHA1: usize = 20;
/// Object identifier 1.3.6.1.4.1.42.2.17.1.1: Sun's key protector.
const PROTECTOR: &[u8] = &[0x2b, 6, 1, 4, 1, 0x2a, 2, 0x11, 1, 1];

/// One entry of a store.
pub(super) enum Entry {
    Trusted(CertificateDer<'static>),
    Key { hidden: Vec<u8>, chain: Vec<CertificateDer<'static>> },
}

/// Whether the bytes begin as a JKS does.
pub(super) fn is_jks(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Reads all entries. Without a password nothing proves that the store is as it was written, as in Java.
pub(super) fn read(bytes: &[u8], password: Option<&str>) -> Result<Vec<Entry>, StoreProblem> {
    let (content, digest) = bytes.split_last_chunk::<SHA1>().ok_or(StoreProblem::Damaged("too short"))?;
    if let Some(password) = password {
        let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        context.update(&utf16(password));
        context.update(b"Mighty Aphrodite");
        context.update(content);
        verify_slices_are_equal(context.finish().as_ref(), digest)
            .map_err(|_| StoreProblem::WrongPassword)?;
    }
    entries(&mut Bytes(content)).ok_or(StoreProblem::Damaged("it breaks off or holds something else"))
}

/// The key behind its password, as PKCS#8.
pub(super) fn unhide(hidden: &[u8], password: &str) -> Result<Vec<u8>, StoreProblem> {
    let body = protected(hidden)
        .ok_or(StoreProblem::Damaged("a key is hidden in a way that Java's JKS does not know"))?;
    let (salt, rest) = body.split_first_chunk::<SHA1>().ok_or(StoreProblem::Damaged("a key is too short"))?;
    let (covered, check) =
        rest.split_last_chunk::<SHA1>().ok_or(StoreProblem::Damaged("a key is too short"))?;
    let password = utf16(password);
    let mut block = salt.to_vec();
    let mut plain = Vec::with_capacity(covered.len());
    for chunk in covered.chunks(SHA1) {
        block = sha1(&password, &block);
        plain.extend(chunk.iter().zip(&block).map(|(byte, mask)| byte ^ mask));
    }
    verify_slices_are_equal(&sha1(&password, &plain), check).map_err(|_| StoreProblem::WrongKeyPassword)?;
    Ok(plain)
}

fn entries(content: &mut Bytes<'_>) -> Option<Vec<Entry>> {
    content.take(MAGIC.len())?;
    let version = content.u32()?;
    if !matches!(version, 1 | 2) {
        return None;
    }
    let count = content.u32()?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let kind = content.u32()?;
        let alias = content.u16()?;
        content.take(alias)?;
        content.take(8)?;
        entries.push(match kind {
            1 => {
                let hidden = content.counted()?.to_vec();
                let chain =
                    (0..content.u32()?).map(|_| content.certificate(version)).collect::<Option<_>>()?;
                Entry::Key { hidden, chain }
            }
            2 => Entry::Trusted(content.certificate(version)?),
            _ => return None,
        });
    }
    content.0.is_empty().then_some(entries)
}

/// What `EncryptedPrivateKeyInfo` holds, if Sun's protector made it.
fn protected(der: &[u8]) -> Option<&[u8]> {
    let (info, _) = value(der, 0x30)?;
    let (algorithm, rest) = value(info, 0x30)?;
    let (identifier, _) = value(algorithm, 6)?;
    let (body, _) = value(rest, 4)?;
    (identifier == PROTECTOR).then_some(body)
}

/// The content of the first DER value, which must have this tag, and what follows it.
fn value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = der.split_first_chunk::<2>()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    if found == tag { rest.split_at_checked(length) } else { None }
}

fn sha1(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(a);
    context.update(b);
    context.finish().as_ref().to_vec()
}

fn utf16(password: &str) -> Vec<u8> {
    password.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// What is left to read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u16(&mut self) -> Option<usize> {
        Some(usize::from(u16::from_be_bytes(self.take(2)?.try_into().ok()?)))
    }

    fn counted(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    fn certificate(&mut self, version: u32) -> Option<CertificateDer<'static>> {
        if version == 2 {
            let kind = self.u16()?;
            if self.take(kind)? != b"X.509" {
                return None;
            }
        }
        self.counted().map(|der| CertificateDer::from(der.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_off_is_damaged_and_never_a_panic() {
        let mut store = vec![0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1, b'a'];
        store.extend([0; 8]);
        store.extend([0, 5]);
        store.extend(b"X.509");
        store.extend([0, 0, 0, 2, 7, 8]);
        let whole = [store.clone(), vec![0; SHA1]].concat();
        assert!(matches!(read(&whole, None).unwrap()[..], [Entry::Trusted(_)]));
        assert!(matches!(read(&whole, Some("x")), Err(StoreProblem::WrongPassword)));
        for length in 0..store.len() {
            let cut = [&store[..length], &[0; SHA1]].concat();
            assert!(read(&cut, None).is_err(), "{length} bytes");
        }
        for length in 0..hidden().len() {
            assert!(unhide(&hidden()[..length], "x").is_err());
        }
    }

    fn hidden() -> Vec<u8> {
        let salt = [3; SHA1];
        let plain = b"a key of more than twenty bytes";
        let password = utf16("pä");
        let mut body = salt.to_vec();
        let mut block = salt.to_vec();
        for chunk in plain.chunks(SHA1) {
            block = sha1(&password, &block);
            body.extend(chunk.iter().zip(&block).map(|(byte, mask)| byte ^ mask));
        }
        body.extend(sha1(&password, plain));
        let wrap = |tag: u8, content: Vec<u8>| [vec![tag, 0x81, content.len() as u8], content].concat();
        let algorithm = wrap(0x30, [wrap(6, PROTECTOR.to_vec()), vec![5, 0]].concat());
        wrap(0x30, [algorithm, wrap(4, body)].concat())
    }

    #[test]
    fn a_key_has_a_password_of_its_own() {
        assert_eq!(unhide(&hidden(), "pä").unwrap(), b"a key of more than twenty bytes");
        assert!(matches!(unhide(&hidden(), "other"), Err(StoreProblem::WrongKeyPassword)));
    }
}
