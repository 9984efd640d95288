//! Access tokens as JWTs, by `jsonwebtoken`.
//!
//! Promises beside the port's: the header is asked for the key's name and nothing else; time is ours (the service's one
//! clock), so that a test can say what time it is.

#[cfg(test)]
mod tests;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{
    Algorithm as Alg, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode,
};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use zeroize::Zeroizing;

use super::{
    AccessTokens, Algorithm, Claims, LEEWAY, LONGEST, Pair, Realm, SigningKey, VerifyingKey, crypto,
};
use crate::domain::error::{Error, Kind, Result};
use crate::domain::time::Timestamp;

/// The longest name of a key.
const KID_LIMIT: usize = 64;

/// Our JWTs.
#[derive(Debug)]
pub struct Jwts {
    realm: Realm,
}

/// The claims with what the library checks for us.
#[derive(serde::Serialize, serde::Deserialize)]
struct Body<'a> {
    iss: std::borrow::Cow<'a, str>,
    aud: std::borrow::Cow<'a, str>,
    #[serde(flatten)]
    claims: std::borrow::Cow<'a, Claims>,
}

impl Jwts {
    /// For this realm.
    #[must_use]
    pub fn new(realm: Realm) -> Self {
        crypto::install();
        Self { realm }
    }

    fn validation(&self, algorithm: Alg) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[&self.realm.issuer]);
        validation.set_audience(&[&self.realm.audience]);
        validation.set_required_spec_claims(&["iss", "aud"]);
        // Checked below, by our own clock.
        validation.validate_exp = false;
        validation
    }
}

fn invalid() -> Error {
    Error::new(Kind::Unauthorized, "token_invalid", "the access token is not valid")
}

impl AccessTokens for Jwts {
    fn make_pair(&self) -> Result<Pair> {
        let random = SystemRandom::new();
        let document = Ed25519KeyPair::generate_pkcs8(&random).map_err(Error::bug)?;
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(Error::bug)?;
        let secret = Zeroizing::new(document.as_ref().to_vec());
        Ok(Pair { public: pair.public_key().as_ref().to_vec(), secret })
    }

    fn sign(&self, key: &SigningKey, claims: &Claims) -> Result<String> {
        let (algorithm, encoding) = match key.algorithm {
            Algorithm::EdDsa => (Alg::EdDSA, EncodingKey::from_ed_der(&key.material)),
            Algorithm::Hs256 => (Alg::HS256, EncodingKey::from_secret(&key.material)),
        };
        let mut header = Header::new(algorithm);
        header.kid = Some(key.kid.clone());
        let (iss, aud) = (self.realm.issuer.as_str().into(), self.realm.audience.as_str().into());
        let body = Body { iss, aud, claims: std::borrow::Cow::Borrowed(claims) };
        encode(&header, &body, &encoding)
            .map_err(|error| Error::bug(format!("a token cannot be signed: {error}")))
    }

    fn kid(&self, token: &str) -> Result<String> {
        if token.len() > LONGEST {
            return Err(invalid());
        }
        let header = decode_header(token).map_err(|_no_token| invalid())?;
        header.kid.filter(|kid| (1..=KID_LIMIT).contains(&kid.len())).ok_or_else(invalid)
    }

    fn open(&self, key: &VerifyingKey, token: &str, at: Timestamp) -> Result<Claims> {
        if token.len() > LONGEST {
            return Err(invalid());
        }
        let (algorithm, decoding) = match key.algorithm {
            Algorithm::EdDsa => (Alg::EdDSA, DecodingKey::from_ed_der(&key.material)),
            Algorithm::Hs256 => (Alg::HS256, DecodingKey::from_secret(&key.material)),
        };
        let opened = decode::<Body<'static>>(token, &decoding, &self.validation(algorithm));
        let opened = opened.map_err(|error| {
            tracing::debug!(kind = reason(error.kind()), "an access token was refused");
            invalid()
        })?;
        if opened.header.kid.as_deref() != Some(key.kid.as_str()) {
            return Err(invalid());
        }
        let claims = opened.claims.claims.into_owned();
        let seconds = at.0.div_euclid(1000);
        let too_early = seconds.saturating_add(LEEWAY) < claims.nbf.max(claims.iat);
        if claims.token_use != Claims::ACCESS || too_early {
            return Err(invalid());
        }
        if seconds.saturating_sub(LEEWAY) >= claims.exp {
            return Err(Error::new(
                Kind::Unauthorized,
                "token_expired",
                "the access token has expired; refresh it",
            ));
        }
        Ok(claims)
    }
}

/// A word for the log; the library's own texts may quote the token.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library's list is open")]
fn reason(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => "algorithm",
        ErrorKind::InvalidSignature => "signature",
        ErrorKind::InvalidIssuer => "issuer",
        ErrorKind::InvalidAudience => "audience",
        ErrorKind::MissingRequiredClaim(_) => "claims",
        _ => "shape",
    }
}
