//! PEM: certificates and keys as text. Line breaks don't matter, as in Kafka's own reader: texts in properties and
//! secret scopes often lose them.

use p12_keystore::Pkcs12Archive;
use p12_keystore::error::Error as Pkcs12Error;
use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};

use super::StoreProblem;
use crate::base64;

/// Whether the bytes hold a PEM block.
pub(super) fn is_pem(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| text.contains("-----BEGIN "))
}

/// All certificates, in their order.
pub(super) fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, StoreProblem> {
    let blocks = blocks(bytes)?;
    let found = blocks.into_iter().filter(|(label, _)| label == "CERTIFICATE" || label == "X509 CERTIFICATE");
    Ok(found.map(|(_, der)| CertificateDer::from(der)).collect())
}

/// The first private key, if there is one.
pub(super) fn key(
    bytes: &[u8],
    password: Option<&str>,
) -> Result<Option<PrivateKeyDer<'static>>, StoreProblem> {
    for (label, der) in blocks(bytes)? {
        return Ok(Some(match label.as_str() {
            "PRIVATE KEY" => PrivatePkcs8KeyDer::from(der).into(),
            "RSA PRIVATE KEY" => PrivatePkcs1KeyDer::from(der).into(),
            "EC PRIVATE KEY" => PrivateSec1KeyDer::from(der).into(),
            "ENCRYPTED PRIVATE KEY" => decrypt(&der, password)?,
            _ => continue,
        }));
    }
    Ok(None)
}

fn decrypt(der: &[u8], password: Option<&str>) -> Result<PrivateKeyDer<'static>, StoreProblem> {
    let password = password.ok_or(StoreProblem::NoKeyPassword)?;
    let Ok(info) = EncryptedPrivateKeyInfoRef::try_from(der) else { return decrypt_as_pkcs12(der, password) };
    let key = info.decrypt(password).map_err(|_| StoreProblem::WrongKeyPassword)?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}

/// The ways of PKCS#12 (pbeWithSHA1And3-KeyTripleDES-CBC, as Java's keytool and older openssl write it) are those of
/// a bag in a store of PKCS#12, so such a store is made around the key.
fn decrypt_as_pkcs12(der: &[u8], password: &str) -> Result<PrivateKeyDer<'static>, StoreProblem> {
    let archive = Pkcs12Archive::from_pkcs12(&store_around(der), password).map_err(|error| match error {
        Pkcs12Error::UnsupportedEncryptionScheme => StoreProblem::Unknown(
            "the key is encrypted in a way that is not carried; `openssl pkcs8 -topk8 -v2 aes-256-cbc` makes one that is",
        ),
        _ => StoreProblem::WrongKeyPassword,
    })?;
    let bag = archive.keys.first().ok_or(StoreProblem::NoKey)?;
    Ok(PrivatePkcs8KeyDer::from(bag.key.as_der().to_vec()).into())
}

/// A PFX (RFC 7292) of nothing but one shrouded key bag, without a MAC.
fn store_around(encrypted_key: &[u8]) -> Vec<u8> {
    /// 1.2.840.113549.1.12.10.1.2
    const SHROUDED_KEY_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 2];
    const SEQUENCE: u8 = 0x30;
    let bag = [value(6, SHROUDED_KEY_BAG), value(0xa0, encrypted_key)].concat();
    let safe = content_info(&value(SEQUENCE, &value(SEQUENCE, &bag)));
    let all = content_info(&value(SEQUENCE, &safe));
    value(SEQUENCE, &[value(2, &[3]), all].concat())
}

fn content_info(content: &[u8]) -> Vec<u8> {
    /// 1.2.840.113549.1.7.1
    const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
    value(0x30, &[value(6, DATA), value(0xa0, &value(4, content))].concat())
}

/// A value in DER.
fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let head = match content.len() {
        short @ 0..0x80 => vec![tag, short as u8],
        _ => [&[tag, 0x80 | length.len() as u8], length].concat(),
    };
    [&head, content].concat()
}

/// Label and content of each block.
fn blocks(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, StoreProblem> {
    let mut rest = std::str::from_utf8(bytes).map_err(|_| StoreProblem::Damaged("it is no text"))?;
    let mut blocks = Vec::new();
    while let Some((_, begun)) = rest.split_once("-----BEGIN ") {
        let (label, body) =
            begun.split_once("-----").ok_or(StoreProblem::Damaged("a PEM block breaks off"))?;
        let end = format!("-----END {label}-----");
        let (body, after) = body.split_once(&end).ok_or(StoreProblem::Damaged("a PEM block breaks off"))?;
        if body.contains("Proc-Type:") {
            return Err(StoreProblem::Unknown(
                "a key is encrypted in the old way of openssl; `openssl pkcs8 -topk8` makes one that can be read",
            ));
        }
        let digits: String = body.chars().filter(|digit| !digit.is_whitespace()).collect();
        let der = base64::decode(&digits).ok_or(StoreProblem::Damaged("a PEM block is no base64"))?;
        blocks.push((label.to_owned(), der));
        rest = after;
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_der() {
        assert_eq!(value(4, &[7]), [4, 1, 7]);
        assert_eq!(value(4, &[0; 0x7f])[..2], [4, 0x7f]);
        assert_eq!(value(4, &[0; 0x80])[..3], [4, 0x81, 0x80]);
        assert_eq!(value(4, &[0; 0x1234])[..4], [4, 0x82, 0x12, 0x34]);
    }

    #[test]
    fn an_odd_cipher_of_a_key_is_named_as_one() {
        let algorithm = value(0x30, &value(6, &[0x2a, 3]));
        let odd = value(0x30, &[algorithm, value(4, &[0; 16])].concat());
        assert!(matches!(decrypt(&odd, Some("x")), Err(StoreProblem::Unknown(_))));
    }

    #[test]
    fn blocks_are_read_with_and_without_line_breaks() {
        for text in [
            "Bag Attributes\n-----BEGIN CERTIFICATE-----\nAAEC\nAwQF\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n",
            "-----BEGIN CERTIFICATE----- AAEC AwQF -----END CERTIFICATE----- -----BEGIN PRIVATE KEY----- AA== -----END PRIVATE KEY-----",
        ] {
            assert!(is_pem(text.as_bytes()));
            let certificates = certificates(text.as_bytes()).unwrap();
            assert_eq!(certificates, [CertificateDer::from(vec![0, 1, 2, 3, 4, 5])]);
            assert!(matches!(key(text.as_bytes(), None).unwrap(), Some(PrivateKeyDer::Pkcs8(_))));
        }
        assert!(certificates(b"-----BEGIN CERTIFICATE-----\nAAEC").is_err());
        assert!(certificates(b"-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----").is_err());
        let encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAEC\n-----END ENCRYPTED PRIVATE KEY-----";
        assert!(matches!(key(encrypted, None), Err(StoreProblem::NoKeyPassword)));
    }
}
