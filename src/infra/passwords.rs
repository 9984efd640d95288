//! Passwords: what is stored of them, and whether one is right.
//!
//! Promises: only an Argon2id hash (PHC text, its own salt) leaves here; checking costs the same whether the account
//! exists or not, for there is a decoy to check against; a hash made with less work than today's is told apart, so that it
//! can be made anew while its password is at hand.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};

use crate::domain::error::{Error, Result};

/// How much work a hash takes: OWASP's first choice for Argon2id is 19 MiB and two passes on one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB.
    pub memory: u32,
    /// Passes over it.
    pub passes: u32,
}

impl Default for Cost {
    fn default() -> Self {
        Self { memory: Params::DEFAULT_M_COST, passes: Params::DEFAULT_T_COST }
    }
}

impl Cost {
    /// As little as the algorithm takes: for tests that make many passwords.
    pub const LEAST: Self = Self { memory: 64, passes: 1 };
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Whether the password is the stored one.
    pub right: bool,
    /// Whether the stored hash took less work than a new one would.
    pub outdated: bool,
}

/// How passwords are stored. Both calls take long on purpose: never on a thread that others wait for.
pub trait PasswordHashing: Send + Sync + 'static {
    /// What to store.
    ///
    /// # Errors
    /// `Bug` when the parameters cannot be used.
    fn hash(&self, password: &str) -> Result<String>;

    /// Whether a password is the stored one; with nothing stored the same work is done and the answer is no.
    ///
    /// # Errors
    /// `Bug` when what is stored is no hash.
    fn check(&self, password: &str, stored: Option<&str>) -> Result<Checked>;
}

/// Argon2id.
pub struct Argon2id {
    argon: Argon2<'static>,
    cost: Cost,
    decoy: String,
}

impl Argon2id {
    /// With this cost.
    ///
    /// # Errors
    /// `Bug` when the cost is out of the algorithm's bounds.
    pub fn new(cost: Cost) -> Result<Self> {
        let params =
            Params::new(cost.memory, cost.passes, Params::DEFAULT_P_COST, None).map_err(Error::bug)?;
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        // Of a password that nobody knows: not even we.
        let nobodys: [u8; 32] = rand::random();
        let decoy = argon.hash_password(&nobodys).map_err(Error::bug)?.to_string();
        Ok(Self { argon, cost, decoy })
    }
}

impl PasswordHashing for Argon2id {
    fn hash(&self, password: &str) -> Result<String> {
        Ok(self.argon.hash_password(password.as_bytes()).map_err(Error::bug)?.to_string())
    }

    fn check(&self, password: &str, stored: Option<&str>) -> Result<Checked> {
        let text = stored.unwrap_or(&self.decoy);
        let hash = PasswordHash::new(text).map_err(|_no_hash| Error::bug("a stored password is no hash"))?;
        let matches = self.argon.verify_password(password.as_bytes(), &hash).is_ok();
        let outdated = Params::try_from(&hash)
            .map_or(true, |params| params.m_cost() < self.cost.memory || params.t_cost() < self.cost.passes);
        let right = matches && stored.is_some();
        Ok(Checked { right, outdated: right && outdated })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cheap() -> Argon2id {
        Argon2id::new(Cost::LEAST).unwrap()
    }

    #[test]
    fn the_right_password_is_right_and_every_other_is_not() {
        let hashing = cheap();
        let stored = hashing.hash("correct horse").unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{stored}");
        assert!(hashing.check("correct horse", Some(&stored)).unwrap().right);
        assert!(!hashing.check("correct horsf", Some(&stored)).unwrap().right);
        assert!(!hashing.check("", Some(&stored)).unwrap().right);
        assert_ne!(hashing.hash("correct horse").unwrap(), stored, "every hash has its own salt");
    }

    #[test]
    fn without_an_account_no_password_is_right() {
        assert_eq!(cheap().check("anything", None).unwrap(), Checked { right: false, outdated: false });
    }

    #[test]
    fn a_hash_of_less_work_is_told_apart_and_only_for_whom_it_opens() {
        let stored = cheap().hash("correct horse").unwrap();
        let dearer = Argon2id::new(Cost { passes: 2, ..Cost::LEAST }).unwrap();
        assert_eq!(
            dearer.check("correct horse", Some(&stored)).unwrap(),
            Checked { right: true, outdated: true }
        );
        assert!(!dearer.check("wrong", Some(&stored)).unwrap().outdated);
        assert!(!cheap().check("correct horse", Some(&stored)).unwrap().outdated);
    }

    #[test]
    fn todays_cost_is_the_one_that_is_advised() {
        assert_eq!(Cost::default(), Cost { memory: 19_456, passes: 2 });
    }

    #[test]
    fn what_is_no_hash_is_a_mistake_and_not_a_wrong_password() {
        assert!(cheap().check("x", Some("plain")).is_err());
    }
}
