//! What mails say, in every language: one text file each, from which both the text and the HTML part are made.
//!
//! What it promises: there is a text for every kind of mail in every language, with the same placeholders (a test looks
//! at all of them); what is filled in is escaped in HTML; nothing that a stranger chose, such as a name, stands in any
//! of them, so that nobody can have the service send their words to somebody else.
//!
//! A file is a subject, and paragraphs, separated by empty lines. A paragraph that is `{link}` or `{token}` alone is
//! shown as such.

use crate::domain::identity::Locale;

/// A kind of mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Template {
    /// To an address that somebody registered with.
    Verify,
    /// To somebody who was invited.
    Invite,
    /// To somebody who does not know their password, or whose address was used to register again: who asked is told
    /// neither, and there is one mail for both, so that nothing tells them apart.
    Reset,
    /// To the address somebody wants to move to.
    ChangeMail,
    /// To the address somebody wants to move from.
    ChangeMailNotice,
    /// To somebody whose password is another one now.
    PasswordChanged,
}

/// What is filled in.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Where the service is: `https://recado.example.org`, with no slash at its end.
    pub base: String,
    /// The secret text; empty where there is none.
    pub token: String,
    /// Until when the token is good.
    pub until: String,
    /// When it happened.
    pub when: String,
}

/// A mail's words.
#[derive(Clone, PartialEq, Eq)]
pub struct Words {
    /// The subject.
    pub subject: String,
    /// As text.
    pub text: String,
    /// As HTML.
    pub html: String,
}

impl Template {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::Verify,
        Self::Invite,
        Self::Reset,
        Self::ChangeMail,
        Self::ChangeMailNotice,
        Self::PasswordChanged,
    ];

    /// Its name, in files and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Invite => "invite",
            Self::Reset => "reset",
            Self::ChangeMail => "change_mail",
            Self::ChangeMailNotice => "change_mail_notice",
            Self::PasswordChanged => "password_changed",
        }
    }

    /// The route that takes its token in a POST; none where it has no token.
    #[must_use]
    pub fn path(self) -> Option<&'static str> {
        match self {
            Self::Verify => Some("/auth/verify"),
            Self::Invite => Some("/auth/invitations/accept"),
            Self::Reset => Some("/auth/password/reset"),
            Self::ChangeMail => Some("/auth/mail/confirm"),
            Self::ChangeMailNotice | Self::PasswordChanged => None,
        }
    }

    /// The words in this language.
    #[must_use]
    pub fn words(self, locale: Locale, facts: &Facts) -> Words {
        let (subject, body) = self.source(locale).split_once("\n\n").unwrap_or_default();
        let path = self.path().unwrap_or_default();
        let route = format!("POST {}{path}", facts.base);
        // Behind a # it reaches no server and no log on its way.
        let link = format!("{}/auth/links/{}#token={}", facts.base, self.as_str(), facts.token);
        let service = facts.base.split_once("://").map_or(facts.base.as_str(), |(_, host)| host);
        let values = [
            ("{service}", service),
            ("{link}", &link),
            ("{route}", &route),
            ("{token}", &facts.token),
            ("{until}", &facts.until),
            ("{when}", &facts.when),
        ];
        let text = filled(body, &values, str::to_owned);
        let paragraphs: String = body
            .split("\n\n")
            .map(str::trim)
            .filter(|paragraph| !paragraph.is_empty())
            .map(|paragraph| {
                let inner = filled(&escaped(paragraph), &values, escaped);
                match paragraph {
                    "{link}" => format!("<p><a href=\"{inner}\">{inner}</a></p>\n"),
                    "{token}" => format!("<p><code>{inner}</code></p>\n"),
                    _ => format!("<p>{inner}</p>\n"),
                }
            })
            .collect();
        let html = format!(
            "<!doctype html>\n<html lang=\"{locale}\">\n<head><meta charset=\"utf-8\"><title>{}</title></head>\n\
             <body style=\"font-family: sans-serif; line-height: 1.5; max-width: 40em\">\n{paragraphs}</body>\n</html>\n",
            escaped(subject)
        );
        Words { subject: subject.trim().to_owned(), text, html }
    }

    fn source(self, locale: Locale) -> &'static str {
        macro_rules! in_all {
            ($name:literal) => {
                match locale {
                    Locale::Es => include_str!(concat!("es/", $name, ".txt")),
                    Locale::Pt => include_str!(concat!("pt/", $name, ".txt")),
                    Locale::En => include_str!(concat!("en/", $name, ".txt")),
                }
            };
        }
        match self {
            Self::Verify => in_all!("verify"),
            Self::Invite => in_all!("invite"),
            Self::Reset => in_all!("reset"),
            Self::ChangeMail => in_all!("change_mail"),
            Self::ChangeMailNotice => in_all!("change_mail_notice"),
            Self::PasswordChanged => in_all!("password_changed"),
        }
    }
}

/// What is filled in is not looked at again: a value that looks like a placeholder stays as it is.
fn filled(text: &str, values: &[(&str, &str)], shown: impl Fn(&str) -> String) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len() * 2), text);
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let known = values.iter().find_map(|(name, value)| Some((value, from.strip_prefix(name)?)));
        match known {
            Some((value, after)) => {
                out.push_str(&shown(value));
                rest = after;
            }
            None => {
                out.push('{');
                rest = from.get(1..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    out
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::identity::Purpose;

    fn facts() -> Facts {
        Facts {
            base: "https://recado.example.org".into(),
            token: "AZ-_09".into(),
            until: "2026-11-24 02:00 UTC".into(),
            when: "2026-11-23 02:00 UTC".into(),
        }
    }

    fn placeholders(text: &str) -> Vec<&str> {
        let mut all: Vec<_> = text.split('{').skip(1).map(|after| after.split('}').next().unwrap()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    #[test]
    fn every_mail_exists_in_every_language_with_all_that_it_needs() {
        let mut sources = std::collections::HashSet::new();
        for template in Template::ALL {
            let wanted: &[&str] = if template.path().is_some() {
                &["link", "route", "service", "token", "until"]
            } else {
                &["service", "when"]
            };
            for locale in Locale::ALL {
                let source = template.source(*locale);
                assert!(sources.insert(source), "{template:?} {locale}: a copy of another");
                assert_eq!(placeholders(source), wanted, "{template:?} {locale}");
                let (subject, body) = source.split_once("\n\n").unwrap();
                assert!(
                    (8..=60).contains(&subject.chars().count()) && !subject.contains(['\n', '{']),
                    "{subject}"
                );
                assert!(body.len() > 200, "{template:?} {locale}");
                let words = template.words(*locale, &facts());
                assert_eq!(words.subject, subject);
                for part in [&words.text, &words.html] {
                    assert!(!part.contains(['{', '}']), "{template:?} {locale}: {part}");
                    assert!(part.contains("recado.example.org"));
                }
                assert!(words.html.contains(&format!("<html lang=\"{locale}\">")));
                if let Some(path) = template.path() {
                    let page = format!("/auth/links/{}", template.as_str());
                    assert!(template.as_str().parse::<Purpose>().is_ok());
                    let link = format!("https://recado.example.org{page}#token=AZ-_09");
                    assert!(words.text.contains(&format!("\n\n{link}\n\n")), "{}", words.text);
                    assert!(words.html.contains(&format!("<a href=\"{link}\">{link}</a>")), "{}", words.html);
                    assert!(words.html.contains("<code>AZ-_09</code>"));
                    assert!(words.text.contains(&format!("POST https://recado.example.org{path}:")));
                    assert!(words.text.contains("2026-11-24 02:00 UTC"));
                } else {
                    assert!(words.text.contains("2026-11-23 02:00 UTC") && !words.text.contains("token"));
                }
            }
        }
        assert_eq!(sources.len(), Template::ALL.len() * Locale::ALL.len());
    }

    #[test]
    fn what_is_filled_in_is_escaped_and_never_filled_again() {
        let base = "https://x\"><script>'&{token}".to_owned();
        let words = Template::Verify.words(Locale::En, &Facts { base, ..facts() });
        assert!(!words.html.contains("<script>") && !words.html.contains("\">&"), "{}", words.html);
        assert!(words.html.contains("&lt;script&gt;&#39;&amp;{token}"), "{}", words.html);
        assert!(words.text.contains("x\"><script>'&{token}"));
    }
}
