//! Stores of keys and certificates: JKS, PKCS#12 and PEM, told by their bytes and not by their name, as Java does.

mod jks;
mod location;
mod pem;

use p12_keystore::Pkcs12Archive;
use p12_keystore::error::Error as Pkcs12Error;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::certificate::Shown;

pub use self::location::LocationError;
pub(super) use self::location::{read, without_secrets};

/// A key with its certificates, its own first.
#[derive(Debug)]
pub(super) struct KeyEntry {
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) chain: Vec<CertificateDer<'static>>,
}

/// Why a store cannot be used. Never holds anything of it.
#[derive(Debug, thiserror::Error)]
pub enum StoreProblem {
    /// The store's password is another one.
    #[error("wrong password")]
    WrongPassword,
    /// The key's password is another one.
    #[error("wrong password of the key")]
    WrongKeyPassword,
    /// There is no password for the key.
    #[error("its key is encrypted and needs a password")]
    NoKeyPassword,
    /// There is no password for the store.
    #[error("it needs a password")]
    NoPassword,
    /// Bytes of another kind.
    #[error("is neither JKS, PKCS#12 nor PEM")]
    NoStore,
    /// A kind of Java's that is not read.
    #[error("is a JCEKS store; `keytool -importkeystore -deststoretype PKCS12` makes one that can be read")]
    Jceks,
    /// No bytes.
    #[error("is empty")]
    Empty,
    /// Nothing to trust.
    #[error("holds no certificate")]
    NoCertificate,
    /// Nothing to show.
    #[error("holds no private key")]
    NoKey,
    /// A key that nobody signed.
    #[error("holds no certificate for its private key")]
    NoCertificateOfKey,
    /// Bytes that break the rules of their kind.
    #[error("is damaged: {0}")]
    Damaged(&'static str),
    /// Made in a way that is not carried.
    #[error("cannot be read: {0}")]
    Unknown(&'static str),
    /// PKCS#12 that breaks its rules.
    #[error("is damaged")]
    Pkcs12(#[source] Box<Pkcs12Error>),
}

impl StoreProblem {
    /// True when another password might help.
    pub(super) fn is_of_password(&self) -> bool {
        matches!(self, Self::WrongPassword | Self::WrongKeyPassword | Self::NoKeyPassword | Self::NoPassword)
    }
}

/// The certificates that a truststore makes trusted: its trusted entries, and as in Java the own certificates of its keys.
pub(super) fn trusted(
    bytes: &[u8],
    password: Option<&str>,
) -> Result<Vec<CertificateDer<'static>>, StoreProblem> {
    let found = match kind(bytes)? {
        Kind::Jks => jks::read(bytes, password)?
            .into_iter()
            .filter_map(|entry| match entry {
                jks::Entry::Trusted(certificate) => Some(certificate),
                jks::Entry::Key { chain, .. } => chain.into_iter().next(),
            })
            .collect(),
        Kind::Certificate => vec![CertificateDer::from(bytes.to_vec())],
        Kind::Pkcs12 => {
            let archive = pkcs12(bytes, password)?;
            // Others than Java do not mark what is trusted: a store of nothing but certificates is one of those.
            let all = archive.keys.is_empty() && !archive.certs.iter().any(|bag| bag.trusted);
            let chosen = archive.certs.iter().filter(|bag| all || bag.trusted || bag.local_key_id.is_some());
            chosen.map(|bag| CertificateDer::from(bag.cert.as_der().to_vec())).collect()
        }
        Kind::Pem => pem::certificates(bytes)?,
    };
    if found.is_empty() { Err(StoreProblem::NoCertificate) } else { Ok(found) }
}

/// The keys of a keystore, in its order; at least one.
pub(super) fn keys(
    bytes: &[u8],
    password: Option<&str>,
    key_password: Option<&str>,
) -> Result<Vec<KeyEntry>, StoreProblem> {
    let found = match kind(bytes)? {
        Kind::Jks => jks_keys(bytes, password, key_password)?,
        Kind::Certificate => return Err(StoreProblem::NoKey),
        Kind::Pkcs12 => pkcs12_keys(&pkcs12(bytes, password)?),
        Kind::Pem => {
            let key = pem::key(bytes, key_password.or(password))?.ok_or(StoreProblem::NoKey)?;
            vec![KeyEntry { key, chain: pem::certificates(bytes)? }]
        }
    };
    match found.first() {
        None => Err(StoreProblem::NoKey),
        Some(_) if found.iter().any(|entry| entry.chain.is_empty()) => Err(StoreProblem::NoCertificateOfKey),
        Some(_) => Ok(found),
    }
}

/// The key and certificates of two PEM texts.
pub(super) fn key_of_pem(key: &str, chain: &str, password: Option<&str>) -> Result<KeyEntry, StoreProblem> {
    if !pem::is_pem(key.as_bytes()) || !pem::is_pem(chain.as_bytes()) {
        return Err(StoreProblem::Damaged("it is no PEM"));
    }
    let key = pem::key(key.as_bytes(), password)?.ok_or(StoreProblem::NoKey)?;
    let chain = pem::certificates(chain.as_bytes())?;
    if chain.is_empty() { Err(StoreProblem::NoCertificateOfKey) } else { Ok(KeyEntry { key, chain }) }
}

enum Kind {
    Jks,
    Pkcs12,
    /// One certificate in DER, as `.cer` and `.crt` files often are.
    Certificate,
    Pem,
}

fn kind(bytes: &[u8]) -> Result<Kind, StoreProblem> {
    match bytes {
        [] => Err(StoreProblem::Empty),
        _ if jks::is_jks(bytes) => Ok(Kind::Jks),
        [0xce, 0xce, 0xce, 0xce, ..] => Err(StoreProblem::Jceks),
        _ if Shown::of(bytes).is_some() => Ok(Kind::Certificate),
        // A DER sequence.
        [0x30, _, ..] => Ok(Kind::Pkcs12),
        _ if pem::is_pem(bytes) => Ok(Kind::Pem),
        _ => Err(StoreProblem::NoStore),
    }
}

fn jks_keys(
    bytes: &[u8],
    password: Option<&str>,
    key_password: Option<&str>,
) -> Result<Vec<KeyEntry>, StoreProblem> {
    let mut keys = Vec::new();
    for entry in jks::read(bytes, password)? {
        let jks::Entry::Key { hidden, chain } = entry else { continue };
        let password = key_password.or(password).ok_or(StoreProblem::NoKeyPassword)?;
        let key = PrivatePkcs8KeyDer::from(jks::unhide(&hidden, password)?).into();
        keys.push(KeyEntry { key, chain });
    }
    Ok(keys)
}

fn pkcs12(bytes: &[u8], password: Option<&str>) -> Result<Pkcs12Archive, StoreProblem> {
    Pkcs12Archive::from_pkcs12(bytes, password.unwrap_or_default()).map_err(|error| match (error, password) {
        (Pkcs12Error::MacError(_) | Pkcs12Error::Pkcs5Error(_) | Pkcs12Error::UnpadError, None) => {
            StoreProblem::NoPassword
        }
        (Pkcs12Error::MacError(_) | Pkcs12Error::Pkcs5Error(_) | Pkcs12Error::UnpadError, Some(_)) => {
            StoreProblem::WrongPassword
        }
        (Pkcs12Error::UnsupportedEncryptionScheme | Pkcs12Error::UnsupportedMacAlgorithm, _) => {
            StoreProblem::Unknown("it is encrypted in a way that is not carried")
        }
        (error, _) => StoreProblem::Pkcs12(Box::new(error)),
    })
}

/// Keys with their chains, put together by local key id, and above by issuer.
fn pkcs12_keys(archive: &Pkcs12Archive) -> Vec<KeyEntry> {
    let of_key = |id: &[u8]| archive.certs.iter().find(|bag| bag.local_key_id.as_deref() == Some(id));
    archive
        .keys
        .iter()
        .map(|bag| {
            let own = bag.local_key_id.as_ref().and_then(|id| of_key(id.as_ref()));
            // openssl leaves the id out of a store with one key and one certificate.
            let mut next = own.or_else(|| archive.certs.first().filter(|_| archive.keys.len() == 1));
            let mut chain: Vec<CertificateDer<'static>> = Vec::new();
            while let Some(bag) = next {
                let der = CertificateDer::from(bag.cert.as_der().to_vec());
                if chain.contains(&der) {
                    break;
                }
                chain.push(der);
                let is_root = bag.cert.issuer() == bag.cert.subject();
                let issuer = archive.certs.iter().find(|other| other.cert.subject() == bag.cert.issuer());
                next = issuer.filter(|_| !is_root);
            }
            KeyEntry { key: PrivatePkcs8KeyDer::from(bag.key.as_der().to_vec()).into(), chain }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_store_is_said_to_be_none() {
        let told = |bytes: &[u8]| trusted(bytes, Some("x")).unwrap_err().to_string();
        assert_eq!(told(b""), "is empty");
        assert_eq!(told(b"hello"), "is neither JKS, PKCS#12 nor PEM");
        assert!(told(&[0xce, 0xce, 0xce, 0xce, 0]).starts_with("is a JCEKS store"));
        assert_eq!(told(&[0x30, 3, 2, 1, 3]), "is damaged");
        assert_eq!(
            told(b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----"),
            "holds no certificate"
        );
        assert!(matches!(
            keys(b"-----BEGIN X-----\nAA==\n-----END X-----", None, None),
            Err(StoreProblem::NoKey)
        ));
    }
}
