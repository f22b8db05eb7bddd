//! SCRAM (RFC 5802) as Kafka speaks it: passwords are taken as they are, without SASLprep, and a delegation token says
//! so (KIP-48). The broker has to prove that it knows the password as well.

use std::num::NonZeroU32;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{self, SHA256, SHA512};
use aws_lc_rs::{hmac, pbkdf2, rand};

use crate::base64;

/// The fewest iterations that Kafka allows, and far more than anybody has.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=1_000_000;

/// Which hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

/// An exchange whose first message was made.
pub(super) struct Exchange {
    hash: Hash,
    password: Vec<u8>,
    first_bare: String,
    nonce: String,
    server_signature: Option<Vec<u8>>,
}

impl Exchange {
    /// Begins, with a random nonce.
    pub(super) fn begin(hash: Hash, username: &str, password: &str, is_token: bool) -> (Self, String) {
        let mut bytes = [0; 24];
        // It cannot fail but by a fault of the system; then the broker's part of the nonce is what is left.
        let _ = rand::fill(&mut bytes);
        Self::with_nonce(hash, username, password, is_token, base64::encode(&bytes))
    }

    fn with_nonce(
        hash: Hash,
        username: &str,
        password: &str,
        is_token: bool,
        nonce: String,
    ) -> (Self, String) {
        let user = username.replace('=', "=3D").replace(',', "=2C");
        let extension = if is_token { ",tokenauth=true" } else { "" };
        let first_bare = format!("n={user},r={nonce}{extension}");
        let message = format!("n,,{first_bare}");
        (
            Self { hash, password: password.as_bytes().to_vec(), first_bare, nonce, server_signature: None },
            message,
        )
    }

    /// Answers the broker's first message with the proof.
    pub(super) fn prove(&mut self, server_first: &str) -> Result<String, &'static str> {
        let nonce = attribute(server_first, 'r').ok_or("its first message has no nonce")?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("its first message has another nonce");
        }
        let salt =
            attribute(server_first, 's').and_then(base64::decode).ok_or("its first message has no salt")?;
        let iterations = attribute(server_first, 'i').and_then(|text| text.parse::<NonZeroU32>().ok());
        let iterations = iterations
            .filter(|count| ITERATIONS.contains(&count.get()))
            .ok_or("its first message asks for too few or too many iterations")?;
        let final_bare = format!("c=biws,r={nonce}");
        let message = format!("{},{server_first},{final_bare}", self.first_bare);
        let (derive, mac, plain) = match self.hash {
            Hash::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, hmac::HMAC_SHA256, &SHA256),
            Hash::Sha512 => (pbkdf2::PBKDF2_HMAC_SHA512, hmac::HMAC_SHA512, &SHA512),
        };
        let mut salted = vec![0; plain.output_len()];
        pbkdf2::derive(derive, iterations, &salt, &self.password, &mut salted);
        let salted = hmac::Key::new(mac, &salted);
        let client_key = hmac::sign(&salted, b"Client Key");
        let stored_key = digest::digest(plain, client_key.as_ref());
        let signature = hmac::sign(&hmac::Key::new(mac, stored_key.as_ref()), message.as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let server_key = hmac::sign(&salted, b"Server Key");
        let expected = hmac::sign(&hmac::Key::new(mac, server_key.as_ref()), message.as_bytes());
        self.server_signature = Some(expected.as_ref().to_vec());
        Ok(format!("{final_bare},p={}", base64::encode(&proof)))
    }

    /// Holds the broker's last message against what only somebody who knows the password can say.
    pub(super) fn verify(&self, server_final: &str) -> Result<(), String> {
        if let Some(error) = attribute(server_final, 'e') {
            return Err(format!("the broker refused the login: {error}"));
        }
        let signature = attribute(server_final, 'v').and_then(base64::decode).unwrap_or_default();
        match &self.server_signature {
            Some(expected) if verify_slices_are_equal(expected, &signature).is_ok() => Ok(()),
            _ => Err("the broker does not know the password: it is not whom it says it is".to_owned()),
        }
    }
}

fn attribute(message: &str, name: char) -> Option<&str> {
    message.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677.
    const SERVER_FIRST: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn begun() -> Exchange {
        let nonce = "rOprNGfwEbeRWgbNEkqO".to_owned();
        let (exchange, first) = Exchange::with_nonce(Hash::Sha256, "user", "pencil", false, nonce);
        assert_eq!(first, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        exchange
    }

    #[test]
    fn the_example_of_rfc_7677() {
        let mut exchange = begun();
        assert_eq!(
            exchange.prove(SERVER_FIRST).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert!(exchange.verify("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").is_ok());
        let impostor = exchange.verify("v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap_err();
        assert!(impostor.contains("not whom it says it is"), "{impostor}");
        assert!(exchange.verify("").is_err());
        assert_eq!(
            exchange.verify("e=unknown-user").unwrap_err(),
            "the broker refused the login: unknown-user"
        );
        assert!(begun().verify("v=").is_err(), "nothing was proved yet");
    }

    #[test]
    fn a_broker_that_asks_for_too_little_is_refused() {
        for (from, to) in [
            ("r=rOpr", "r=xOpr"),
            ("i=4096", "i=1"),
            ("i=4096", "i=99999999"),
            ("s=W22", "s=?"),
            ("i=4096", ""),
        ] {
            assert!(begun().prove(&SERVER_FIRST.replace(from, to)).is_err(), "{to}");
        }
        assert!(begun().prove("r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096").is_err());
    }

    #[test]
    fn names_are_escaped_and_tokens_named() {
        let (_, first) = Exchange::with_nonce(Hash::Sha512, "a=b,c", "p", true, "n".into());
        assert_eq!(first, "n,,n=a=3Db=2Cc,r=n,tokenauth=true");
    }
}
