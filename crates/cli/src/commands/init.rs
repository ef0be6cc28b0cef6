//! `init`: makes a repository.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use anyhow::Context as _;
use engine::Repo;
use engine::repository::crypto::Keyring;
use engine::repository::keys::{Credentials, KeyFile};
use engine::repository::repository::InitOptions;
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Exit, usage};
use crate::opening::Other;
use crate::{credentials, opening};

/// Makes a repository, encrypted unless told otherwise.
///
/// Asks for a password on a terminal where none is given. The store is probed: it must create an object only if it is
/// absent, or two backups at once are kept side by side instead of one after the other.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  zooark init --repo /srv/zooark
  zooark init --repo s3://backups/zookeeper --new-key-file /etc/zooark/key
  zooark init --repo /srv/scratch --unencrypted
  zooark init --repo /mnt/second --new-key-file second.key --like /srv/zooark --like-key-file first.key")]
pub struct Args {
    /// Store everything readable to whoever can read the store
    #[arg(long, conflicts_with = "new_key_file")]
    unencrypted: bool,

    /// Make a new key file here and use it instead of a password: no derivation, for hosts that back up every minute
    #[arg(long, value_name = "FILE")]
    new_key_file: Option<PathBuf>,

    /// Make one that shares chunk ids with this repository, for `zooark copy`; passwords and encryption keys are its own
    #[arg(long, value_name = "URL", conflicts_with = "unencrypted")]
    like: Option<String>,

    /// Read the password of the repository named by --like from this file [env: ZOOARK_LIKE_PASSWORD holds the password itself]
    #[arg(long, value_name = "FILE", requires = "like", conflicts_with_all = ["like_password_command", "like_key_file"])]
    like_password_file: Option<PathBuf>,

    /// Run this with `sh -c` and take its first line of output for that password
    #[arg(long, value_name = "COMMAND", requires = "like", conflicts_with = "like_key_file")]
    like_password_command: Option<String>,

    /// Open the repository named by --like with this key file
    #[arg(long, value_name = "FILE", requires = "like")]
    like_key_file: Option<PathBuf>,

    /// A setting of that repository's object store; may be given several times
    #[arg(long, value_name = "KEY=VALUE", requires = "like", value_parser = crate::args::key_value)]
    like_option: Vec<(String, String)>,

    /// How long what nothing needs any more is kept, in hours
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=8760))]
    grace: u64,
}

#[derive(Debug, Serialize)]
struct Made {
    repository_id: String,
    location: String,
    encrypted: bool,
    creates_exclusively: bool,
    key_file: Option<PathBuf>,
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let new = args.new_key_file.as_deref();
    let given = match credentials::key_file(&context.settings) {
        // What later commands open it with may be set already.
        path @ Some(_) if path == new => Credentials::None,
        _ => opening::given_credentials(context)?,
    };
    let like = args.like.as_ref().map(|location| keyring_of(location, args, context)).transpose()?;
    let credentials = match (args.unencrypted, &args.new_key_file) {
        (true, _) if !given.is_none() => {
            return Err(usage("--unencrypted and a password or key file contradict each other: nothing was made"));
        }
        (true, _) => Credentials::None,
        (false, Some(_)) if !given.is_none() => {
            return Err(usage(
                "--new-key-file and another password or key file contradict each other: nothing was made",
            ));
        }
        (false, Some(path)) => Credentials::KeyFile(new_key_file(path)?),
        (false, None) if !given.is_none() => given,
        (false, None) if credentials::can_ask() => {
            Credentials::Password(credentials::ask_new("password for the new repository")?)
        }
        (false, None) => {
            return Err(usage(
                "a repository is encrypted: give --password-file, --key-file or --new-key-file, or say --unencrypted",
            ));
        }
    };
    let encrypted = !credentials.is_none();
    let access = opening::access(context, credentials.clone())?;
    let mut options = InitOptions::new(credentials);
    options.grace_s = args.grace * 3600;
    options.like = like;
    let repo = Repo::init(&access, &options)?;
    let inner = repo.repository();
    let made = Made {
        repository_id: inner.id().to_string(),
        location: inner.store().name().to_owned(),
        encrypted,
        creates_exclusively: inner.config().store.creates_exclusively,
        key_file: args.new_key_file.clone(),
    };
    if context.output.json {
        context.output.document(&made)?;
        return Ok(Exit::Done);
    }
    context.output.line(format_args!("made repository {} in {}", made.repository_id, made.location))?;
    if !made.creates_exclusively {
        context.output.warn("this store does not create objects exclusively: two backups at once both stand");
    }
    context.output.say(if encrypted {
        "It is encrypted. Without its password or key file nothing can be restored: keep a copy of it elsewhere."
    } else {
        "It is not encrypted: whoever can read the store can read the znodes and their ACLs."
    });
    Ok(Exit::Done)
}

/// The secrets that content ids are made with.
fn keyring_of(location: &str, args: &Args, context: &Context) -> anyhow::Result<Keyring> {
    let other = Other {
        what: "the repository named by --like",
        location: location.to_owned(),
        password_file: args.like_password_file.clone(),
        password_command: args.like_password_command.clone(),
        key_file: args.like_key_file.clone(),
        variable: "ZOOARK_LIKE_PASSWORD",
        options: args.like_option.clone(),
    };
    let repo = opening::other(context, &other)?;
    repo.repository().keyring().cloned().ok_or_else(|| {
        usage(format!(
            "{location} is not encrypted, so it has no secret to share: leave out --like, or say --unencrypted"
        ))
    })
}

/// Makes the key and its file, which must not exist: overwriting a key loses repositories.
pub(super) fn new_key_file(path: &PathBuf) -> anyhow::Result<KeyFile> {
    let key = KeyFile::generate().map_err(engine::EngineError::from)?;
    let making = || format!("cannot make the key file {}; nothing was made", path.display());
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(making)?;
    file.write_all(key.to_text().as_bytes()).and_then(|()| file.sync_all()).with_context(making)?;
    Ok(key)
}
