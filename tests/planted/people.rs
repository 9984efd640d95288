//! People, their addresses, passwords, tokens and keys, on every way that takes one.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::story::Story;
use crate::until;
use crate::values::Planted;

const OWNER: &str = "planted.owner@example.org";
const MEMBER: &str = "planted.member@example.org";
const MOVED: &str = "planted.moved@example.org";
const PASSWORD: &str = "planted password of somebody";
const ANOTHER: &str = "planted password, the second";

/// Mails as they were dropped into a folder.
struct Post<'a> {
    folder: &'a Path,
    opened: BTreeSet<String>,
}

impl Post<'_> {
    /// The token of the next mail to this address.
    async fn token(&mut self, to: &str, planted: &mut Planted) -> String {
        let token = until(&format!("a mail to {to}"), async || {
            let letters = std::fs::read_dir(self.folder).ok()?.flatten();
            letters.map(|letter| letter.path().to_str().unwrap().to_owned()).find_map(|path| {
                let letter = std::fs::read_to_string(&path).ok()?;
                let fits = path.ends_with(".eml") && !self.opened.contains(&path);
                let ours = fits && letter.lines().any(|line| line.starts_with("To:") && line.contains(to));
                let is_token = |line: &&str| {
                    line.len() == 54
                        && line.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
                };
                ours.then(|| letter.lines().find(is_token).map(|token| (path, token.to_owned())))?
            })
        })
        .await;
        self.opened.insert(token.0);
        planted.secret("a token of a mail", &token.1);
        token.1
    }
}

impl Story<'_> {
    /// Somebody without credentials asks; what is given out is given out here only.
    async fn anybody(&self, path: &str, body: Value, status: u16) -> Value {
        let none = [("authorization", "none")];
        let (answered, answer) = self.call("POST", path, Some(body), &none).await;
        assert_eq!(answered, status, "{path}: {answer}");
        answer
    }

    /// Logs in or on; both tokens are planted.
    async fn tokens(&self, path: &str, body: Value, planted: &mut Planted) -> (String, String) {
        let answer = self.anybody(path, body, 200).await;
        self.given_out_here();
        let token = |name: &str| answer[name].as_str().unwrap().to_owned();
        let (access, refresh) = (token("accessToken"), token("refreshToken"));
        planted.secret("an access token", &access);
        // What it is made of, too: its signature, and the part after its kind.
        planted.secret("the signature of an access token", access.rsplit('.').next().unwrap());
        planted.secret("a refresh token", &refresh);
        planted.secret("a refresh token without its kind", &refresh[4..]);
        (access, refresh)
    }

    /// Registers, logs in and on, invites, moves, forgets, and is refused wherever that is possible.
    pub async fn people(&self, mails: &Path, planted: &mut Planted) {
        for address in [OWNER, MEMBER, MOVED, "planted.owner", "planted.member", "planted.moved"] {
            planted.personal("a mail address", address);
        }
        planted.personal("the name of a person", "Planted Olivia Name");
        planted.secret("a password", PASSWORD);
        planted.secret("a password", ANOTHER);
        let mut post = Post { folder: mails, opened: BTreeSet::new() };
        self.registers(&mut post, planted).await;
        let access = self.logs_in_and_on(planted).await;
        self.has_company(&access, &mut post, planted).await;
        let access = self.moves_and_forgets(&access, &mut post, planted).await;
        let bearer = format!("Bearer {access}");
        let mine = [("authorization", &*bearer)];
        for path in ["/auth/me", "/auth/logins", "/users", "/api-keys", "/audit-log"] {
            assert_eq!(self.call("GET", path, None, &mine).await.0, 200, "{path}");
        }
        let lines = [mine[0], ("accept", "application/x-ndjson")];
        assert_eq!(self.call("GET", "/audit-log", None, &lines).await.0, 200);
        self.misplaced(&access, planted).await;
    }

    async fn registers(&self, post: &mut Post<'_>, planted: &mut Planted) {
        let account =
            json!({"email": OWNER, "password": PASSWORD, "name": "Planted Olivia Name", "locale": "en"});
        self.anybody("/auth/register", account, 202).await;
        let token = post.token(OWNER, planted).await;
        self.anybody("/auth/password/reset", json!({"token": token, "password": ANOTHER}), 400).await;
        self.anybody("/auth/verify", json!({"token": token}), 200).await;
        self.anybody("/auth/verify", json!({"token": token}), 400).await;
    }

    /// With wrong passwords, and with refresh tokens that were used before.
    async fn logs_in_and_on(&self, planted: &mut Planted) -> String {
        let right = json!({"email": OWNER, "password": PASSWORD});
        for (address, password) in [(OWNER, ANOTHER), (MEMBER, PASSWORD)] {
            self.anybody("/auth/login", json!({"email": address, "password": password}), 401).await;
        }
        let (_, first) = self.tokens("/auth/login", right.clone(), planted).await;
        let (_, second) = self.tokens("/auth/refresh", json!({"refreshToken": first}), planted).await;
        let (_, third) = self.tokens("/auth/refresh", json!({"refreshToken": second}), planted).await;
        self.anybody("/auth/refresh", json!({"refreshToken": second}), 409).await;
        for stolen in [first, third] {
            self.anybody("/auth/refresh", json!({"refreshToken": stolen}), 401).await;
        }
        self.tokens("/auth/login", right, planted).await.0
    }

    /// Somebody is invited, and a key is made.
    async fn has_company(&self, access: &str, post: &mut Post<'_>, planted: &mut Planted) {
        let bearer = format!("Bearer {access}");
        let mine = [("authorization", &*bearer)];
        let invited = json!({"email": MEMBER, "role": "viewer", "locale": "en"});
        assert_eq!(self.call("POST", "/users", Some(invited), &mine).await.0, 201);
        let token = post.token(MEMBER, planted).await;
        let accepted = json!({"token": token, "password": PASSWORD});
        self.anybody("/auth/invitations/accept", accepted, 200).await;
        let made = json!({"name": "planted", "scopes": ["sessions:read"]});
        let (status, key) = self.call("POST", "/api-keys", Some(made), &mine).await;
        self.given_out_here();
        assert_eq!(status, 201, "{key}");
        planted.secret("a key of a person", key["key"].as_str().unwrap());
    }

    async fn moves_and_forgets(&self, access: &str, post: &mut Post<'_>, planted: &mut Planted) -> String {
        let bearer = format!("Bearer {access}");
        let moved = json!({"email": MOVED, "password": PASSWORD});
        let mine = [("authorization", &*bearer)];
        assert_eq!(self.call("POST", "/auth/mail/change", Some(moved), &mine).await.0, 202);
        let token = post.token(MOVED, planted).await;
        self.anybody("/auth/mail/confirm", json!({"token": token}), 200).await;
        self.anybody("/auth/password/forgot", json!({"email": MOVED}), 202).await;
        let token = post.token(MOVED, planted).await;
        self.anybody("/auth/password/reset", json!({"token": token, "password": ANOTHER}), 200).await;
        self.tokens("/auth/login", json!({"email": MOVED, "password": ANOTHER}), planted).await.0
    }

    /// Credentials where none belong, and bodies that break off.
    async fn misplaced(&self, access: &str, planted: &mut Planted) {
        planted.secret("a password in a bad body", "planted-in-a-bad-body");
        for body in [
            json!({"email": OWNER, "password": ["planted-in-a-bad-body"]}),
            json!({"email": OWNER, "planted-in-a-bad-body": PASSWORD}),
            json!({"email": PASSWORD, "password": "planted-in-a-bad-body"}),
        ] {
            // An answer to whoever sent it may name what is wrong in it.
            let (status, _) =
                self.call("POST", "/auth/login", Some(body), &[("authorization", "none")]).await;
            self.given_out_here();
            assert!((400..500).contains(&status), "{status}");
        }
        for path in [
            format!("/sessions?token={access}"),
            format!("/users/{OWNER}"),
            format!("/users?email={MEMBER}"),
            format!("/audit-log?actor={OWNER}&target={OWNER}"),
        ] {
            let (status, _) = self.call("GET", &path, None, &[]).await;
            self.given_out_here();
            assert!((400..500).contains(&status), "{path}: {status}");
        }
    }
}
