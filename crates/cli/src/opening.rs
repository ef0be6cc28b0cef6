//! Opening the repository that the settings name.

use std::path::PathBuf;

use engine::repository::RepositoryError;
use engine::repository::backend::StoreOptions;
use engine::repository::cache::{CacheOptions, CacheStatus};
use engine::repository::keys::Credentials;
use engine::{Access, Repo, secrets};
use secrecy::SecretString;

use crate::context::Context;
use crate::credentials::{self, Given};

/// How to reach the repository, with these credentials.
pub fn access(context: &Context, credentials: Credentials) -> anyhow::Result<Access> {
    let settings = &context.settings;
    let options = settings.options().into_iter().map(|(key, (value, _))| (key, value)).collect();
    Ok(access_to(context, settings.repository()?, options, credentials))
}

fn access_to(context: &Context, location: String, options: Vec<(String, String)>, credentials: Credentials) -> Access {
    let settings = &context.settings;
    Access {
        location,
        store: StoreOptions {
            options: options.into_iter().collect(),
            environment: settings.environment.clone(),
            limit_upload: settings.get(|layer| layer.limit_upload),
            limit_download: settings.get(|layer| layer.limit_download),
            ..StoreOptions::default()
        },
        credentials,
        cache: settings.cache_dir().map_or_else(CacheOptions::none, CacheOptions::at),
    }
}

/// A second repository that a command works with.
#[derive(Debug)]
pub struct Other {
    /// What it is called in a prompt.
    pub what: &'static str,
    /// Where it is.
    pub location: String,
    /// File with its password.
    pub password_file: Option<PathBuf>,
    /// Command that prints its password.
    pub password_command: Option<String>,
    /// Its key file.
    pub key_file: Option<PathBuf>,
    /// The variable that may hold its password.
    pub variable: &'static str,
    /// Settings of its store; those of the first one do not hold for it.
    pub options: Vec<(String, String)>,
}

impl Other {
    fn credentials(&self, context: &Context) -> anyhow::Result<Credentials> {
        if let Some(path) = &self.key_file {
            return Ok(Credentials::KeyFile(secrets::key_file(path)?));
        }
        if let Some(path) = &self.password_file {
            return Ok(Credentials::Password(secrets::password_file(path)?));
        }
        if let Some(command) = &self.password_command {
            return Ok(Credentials::Password(secrets::password_command(command)?));
        }
        let variable = context.settings.environment.get(self.variable).filter(|value| !value.is_empty());
        Ok(variable.map_or(Credentials::None, |value| Credentials::Password(SecretString::from(value.clone()))))
    }
}

/// Opens a second repository.
pub fn other(context: &Context, other: &Other) -> anyhow::Result<Repo> {
    let given = other.credentials(context)?;
    let access = access_to(context, other.location.clone(), other.options.clone(), given);
    open(access, other.what, context)
}

/// What the settings give; nothing where they give nothing.
pub fn given_credentials(context: &Context) -> anyhow::Result<Credentials> {
    Ok(match credentials::given(&context.settings)? {
        Given::Nothing => Credentials::None,
        Given::Password(password) => Credentials::Password(password),
        Given::KeyFile(path) => Credentials::KeyFile(secrets::key_file(&path)?),
    })
}

/// What the settings give, else what a person at the terminal types.
pub fn given_or_asked(context: &Context) -> anyhow::Result<Credentials> {
    let given = given_credentials(context)?;
    if given.is_none() && credentials::can_ask() {
        return Ok(Credentials::Password(credentials::ask()?));
    }
    Ok(given)
}

/// Opens the repository; asks for the password on a terminal where one is needed and none is given.
pub fn repository(context: &Context) -> anyhow::Result<Repo> {
    open(access(context, given_credentials(context)?)?, "the repository", context)
}

fn open(access: Access, what: &str, context: &Context) -> anyhow::Result<Repo> {
    let opened = match Repo::open(&access) {
        Err(error) if access.credentials.is_none() && needs_password(&error) && credentials::can_ask() => {
            let password: SecretString = credentials::ask_for(what)?;
            Repo::open(&Access { credentials: Credentials::Password(password), ..access })
        }
        opened => opened,
    };
    let repo = opened?;
    match repo.cache_status() {
        CacheStatus::Open | CacheStatus::Off => {}
        CacheStatus::Failed(why) => {
            context.output.say(format_args!("going on without the local cache: {why}; it may be deleted at any time"));
        }
    }
    Ok(repo)
}

fn needs_password(error: &engine::EngineError) -> bool {
    error
        .downcast_ref::<RepositoryError>()
        .is_some_and(|error| matches!(error, RepositoryError::CredentialsNeeded { .. }))
}
