//! Deciding who may do what: people, their one-time links and tokens.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use stillpoint_history::{
    AuditAction, AuditQuery, AuditRow, History, HistoryError, Invitation, Person, Role, Token,
};

use crate::access::secret::{TOKEN_MARK, hash, new_secret};
use crate::access::{Access, AccessError, By, Caller, NewSession};

/// How long a one-time link is good.
const LINK_FOR: SignedDuration = SignedDuration::from_hours(24);

/// The longest a token is good, in days.
pub const TOKEN_DAYS_MAX: u16 = 400;

/// The longest name of a person or token, in characters.
const NAME_CHARS_MAX: usize = 64;

/// Names that stand for nobody in the history.
const NOBODY: [&str; 2] = ["schedule", "command line"];

/// Makes a one-time link that gives the rights of an administrator, in the place of the last one, and returns its path on the
/// console (`/welcome/SECRET`). With a name, it gives that person a new password.
///
/// # Errors
///
/// When the history fails, or the system has no random bytes.
pub fn new_link(history: &History, name: Option<&str>, now: Timestamp) -> Result<String, HistoryError> {
    link_for(history, Role::Administrator, name, now)
}

fn link_for(
    history: &History,
    role: Role,
    name: Option<&str>,
    now: Timestamp,
) -> Result<String, HistoryError> {
    let secret = new_secret()?;
    let expires = now.saturating_add(LINK_FOR).unwrap_or(now);
    history.invite(&hash(&secret), &Invitation { role, name: name.map(str::to_owned), expires })?;
    Ok(format!("/welcome/{secret}"))
}

impl Access {
    /// A one-time link for the first administrator, as a path on the console; nothing when there is one.
    ///
    /// # Errors
    ///
    /// When the history fails.
    pub async fn first_link(&self) -> Result<Option<String>, AccessError> {
        let now = self.now();
        self.with_history(move |history| {
            if history.has_administrator()? { Ok(None) } else { new_link(history, None, now).map(Some) }
        })
        .await
    }

    /// What a one-time link gives; nothing when it is used or over.
    ///
    /// # Errors
    ///
    /// When the history fails.
    pub async fn link(&self, secret: &str) -> Result<Option<Invitation>, AccessError> {
        let (secret, now) = (hash(secret), self.now());
        self.with_history(move |history| history.invitation(&secret, now)).await
    }

    /// Uses a one-time link: sets name and password, and begins a session.
    ///
    /// # Errors
    ///
    /// [`AccessError::LinkOver`]; [`AccessError::Refused`] for a name or password that cannot be (the link stays good);
    /// [`AccessError::TooMany`] after too many tries; when the history fails.
    pub async fn use_link(
        &self,
        secret: &str,
        name: &str,
        password: &str,
        address: IpAddr,
    ) -> Result<NewSession, AccessError> {
        // Looked at first: a stranger's guess must not cost a password.
        let link = self.link(secret).await?.ok_or(AccessError::LinkOver)?;
        let name = link.name.unwrap_or_else(|| name.trim().to_owned());
        check_name("the name", &name)?;
        let text = self.passwords.make(password.to_owned()).await?;
        let (secret, now, person) = (hash(secret), self.now(), name.clone());
        let given = self.with_history(move |history| history.accept(&secret, &person, &text, now)).await?;
        let role = given.ok_or(AccessError::LinkOver)?;
        let session = self.begin_session(&name, role, address).await?;
        self.audit(&session.caller, AuditAction::LinkUsed, role.as_str(), "ok").await;
        Ok(session)
    }

    /// Sets the password of a caller, who must know the old one. Their other sessions end.
    ///
    /// # Errors
    ///
    /// [`AccessError::Wrong`] when the old one is wrong; [`AccessError::Refused`] for a program or a password that cannot be;
    /// [`AccessError::TooMany`] after too many tries; when the history fails.
    pub async fn change_password(&self, caller: &Caller, old: &str, new: &str) -> Result<(), AccessError> {
        let By::Session { session, .. } = &caller.by else {
            return Err(AccessError::Refused("a token cannot set a password: sign in".into()));
        };
        self.begin_try(&caller.name, caller.address)?;
        let name = caller.name.clone();
        let known = self.with_history(move |history| history.password_of(&name)).await?;
        if !self.passwords.fits(old.to_owned(), known.map(|(_, text)| text)).await? {
            self.audit(caller, AuditAction::PasswordChanged, &caller.name, "wrong password").await;
            return Err(AccessError::Wrong);
        }
        self.limits
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .was_right(&caller.name, caller.address);
        let text = self.passwords.make(new.to_owned()).await?;
        let (name, keep) = (caller.name.clone(), *session);
        self.with_history(move |history| history.set_password(&name, &text, Some(&keep))).await?;
        self.audit(caller, AuditAction::PasswordChanged, &caller.name, "ok").await;
        Ok(())
    }

    /// Everybody, by name.
    ///
    /// # Errors
    ///
    /// When the history fails.
    pub async fn people(&self) -> Result<Vec<Person>, AccessError> {
        self.with_history(History::people).await
    }

    /// Makes a one-time link with which somebody comes in under this name and role, and sets a password. Returns its path.
    ///
    /// # Errors
    ///
    /// [`AccessError::Refused`] for a name that cannot be or is there with another role; when the history fails.
    pub async fn invite(&self, caller: &Caller, name: &str, role: Role) -> Result<String, AccessError> {
        let name = name.trim().to_owned();
        check_name("the name", &name)?;
        let (person, now) = (name.clone(), self.now());
        let path = self
            .with_history(move |history| {
                let there = history.password_of(&person)?;
                if there.is_some_and(|(has, _)| has != role) {
                    let why = format!("there is already a person {person:?}, with another role");
                    return Err(HistoryError::Refused(why));
                }
                link_for(history, role, Some(&person), now)
            })
            .await?;
        self.audit(caller, AuditAction::PersonMade, &format!("{name}: {role}"), "ok").await;
        Ok(path)
    }

    /// Gives somebody another role.
    ///
    /// # Errors
    ///
    /// [`AccessError::NotThere`]; [`AccessError::Refused`] for the last administrator; when the history fails.
    pub async fn set_role(&self, caller: &Caller, name: &str, role: Role) -> Result<(), AccessError> {
        let person = name.to_owned();
        let done = self.with_history(move |history| history.set_role(&person, role)).await;
        self.told_of_change(caller, AuditAction::RoleChanged, &format!("{name}: {role}"), done).await
    }

    /// Removes somebody.
    ///
    /// # Errors
    ///
    /// [`AccessError::NotThere`]; [`AccessError::Refused`] for the last administrator; when the history fails.
    pub async fn remove_person(&self, caller: &Caller, name: &str) -> Result<(), AccessError> {
        let person = name.to_owned();
        let done = self.with_history(move |history| history.remove_person(&person)).await;
        self.told_of_change(caller, AuditAction::PersonRemoved, name, done).await
    }

    async fn told_of_change(
        &self,
        caller: &Caller,
        action: AuditAction,
        subject: &str,
        done: Result<bool, AccessError>,
    ) -> Result<(), AccessError> {
        let done = done.and_then(|there| if there { Ok(()) } else { Err(AccessError::NotThere("person")) });
        let result = done.as_ref().err().map_or_else(|| "ok".to_owned(), ToString::to_string);
        self.audit(caller, action, subject, &result).await;
        done
    }

    /// All tokens, the newest first.
    ///
    /// # Errors
    ///
    /// When the history fails.
    pub async fn tokens(&self) -> Result<Vec<Token>, AccessError> {
        self.with_history(History::tokens).await
    }

    /// Makes a token for a program, which acts in the name of the caller. Returns it and its secret, which nobody sees again.
    ///
    /// # Errors
    ///
    /// [`AccessError::Refused`] for a name that cannot be, a role above the caller's, or a time that is too long; when the
    /// history fails.
    pub async fn make_token(
        &self,
        caller: &Caller,
        name: &str,
        role: Role,
        days: u16,
    ) -> Result<(Token, String), AccessError> {
        let name = name.trim();
        check_name("the name of the token", name)?;
        if role > caller.role {
            let why = format!("a token may not do more than who makes it: you are {}", caller.role);
            return Err(AccessError::Refused(why));
        }
        if days == 0 || days > TOKEN_DAYS_MAX {
            return Err(AccessError::Refused(format!("a token is good for 1 to {TOKEN_DAYS_MAX} days")));
        }
        let secret = format!("{TOKEN_MARK}{}", new_secret()?);
        let created = self.now();
        let expires = created.saturating_add(SignedDuration::from_hours(24 * i64::from(days)));
        let token = Token {
            id: 0,
            name: name.to_owned(),
            role,
            person: caller.name.clone(),
            created,
            expires: expires.unwrap_or(created),
            last_used: None,
        };
        let (kept, hashed) = (token.clone(), hash(&secret));
        let id = self.with_history(move |history| history.add_token(&hashed, &kept)).await?;
        self.audit(caller, AuditAction::TokenMade, &format!("{id} {name}: {role}, {days} d"), "ok").await;
        Ok((Token { id, ..token }, secret))
    }

    /// Removes a token.
    ///
    /// # Errors
    ///
    /// [`AccessError::NotThere`]; when the history fails.
    pub async fn remove_token(&self, caller: &Caller, id: i64) -> Result<(), AccessError> {
        if !self.with_history(move |history| history.remove_token(id)).await? {
            return Err(AccessError::NotThere("token"));
        }
        self.audit(caller, AuditAction::TokenRemoved, &id.to_string(), "ok").await;
        Ok(())
    }

    /// Who did what, newest first.
    ///
    /// # Errors
    ///
    /// When the history fails.
    pub async fn audit_log(&self, query: AuditQuery) -> Result<Vec<AuditRow>, AccessError> {
        self.with_history(move |history| history.audit(&query)).await
    }
}

fn check_name(what: &str, name: &str) -> Result<(), AccessError> {
    let fits = |char: char| char.is_alphanumeric() || " .-_@".contains(char);
    let chars = name.chars().count();
    if chars == 0 || chars > NAME_CHARS_MAX || !name.chars().all(fits) {
        return Err(AccessError::Refused(format!(
            "{what} must have 1 to {NAME_CHARS_MAX} letters, digits, blanks, or . - _ @"
        )));
    }
    if NOBODY.contains(&name) {
        return Err(AccessError::Refused(format!("{name:?} stands for nobody: take another name")));
    }
    Ok(())
}
