//! `key`: who may open the repository.

use std::path::PathBuf;

use engine::repository::keys::Credentials;
use engine::{keys, secrets};
use serde_json::json;

use crate::context::Context;
use crate::exit::{Exit, usage};
use crate::{credentials, opening, output};

/// Manages the passwords and key files that open the repository.
///
/// Each has a slot of its own that wraps the same secrets, so adding and removing touches no data. Whoever could
/// open the repository once may have kept what it holds: after somebody must not read it any more, remove the slot,
/// rotate the key, and copy what must stay secret to a new repository.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  zooark key list\n  zooark key passwd --new-password-file /root/new-password")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the slots; the one in use is marked
    #[command(after_long_help = "Example:\n  zooark key list")]
    List,
    /// Add a password or a key file
    #[command(
        after_long_help = "Examples:\n  zooark key add --new-password-file /root/second-password\n  zooark key add --new-key-file /etc/zooark/key --label backup-host-2"
    )]
    Add {
        #[command(flatten)]
        new: NewArgs,
    },
    /// Remove a slot; the last one stays
    #[command(after_long_help = "Example:\n  zooark key remove 3fa9c1d2")]
    Remove {
        /// The beginning of the slot's id
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Replace the password or key file in use by another
    #[command(after_long_help = "Example:\n  zooark key passwd --new-password-file /root/new-password")]
    Passwd {
        #[command(flatten)]
        new: NewArgs,
    },
    /// Make a new encryption key for everything written from now on; what is there stays readable
    #[command(
        after_long_help = "A slot can be rewritten only with what opens it: give the passwords or key files of the other slots,\nor let those slots be removed. Only objects below keys/ are written.\n\nExamples:\n  zooark key rotate --with-key-file /etc/zooark/key --dry-run\n  zooark key rotate --remove-others"
    )]
    Rotate {
        /// A file with the password of another slot; may be given several times
        #[arg(long, value_name = "FILE")]
        with_password_file: Vec<PathBuf>,

        /// The key file of another slot; may be given several times
        #[arg(long, value_name = "FILE")]
        with_key_file: Vec<PathBuf>,

        /// Remove the slots that nothing given opens
        #[arg(long)]
        remove_others: bool,

        /// Show what would happen
        #[arg(long)]
        dry_run: bool,
    },
}

/// The password or key file to come.
#[derive(Debug, clap::Args)]
struct NewArgs {
    /// Read the new password from this file [env: ZOOARK_NEW_PASSWORD holds one]
    #[arg(long, value_name = "FILE", conflicts_with = "new_key_file")]
    new_password_file: Option<PathBuf>,

    /// Make a new key file here and use it instead of a password
    #[arg(long, value_name = "FILE")]
    new_key_file: Option<PathBuf>,

    /// Says in clear whose slot it is [default: the host's name]
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
}

impl NewArgs {
    fn credentials(&self, context: &Context) -> anyhow::Result<Credentials> {
        if let Some(path) = &self.new_key_file {
            return Ok(Credentials::KeyFile(super::init::new_key_file(path)?));
        }
        if let Some(path) = &self.new_password_file {
            return Ok(Credentials::Password(secrets::password_file(path)?));
        }
        if let Some(password) = context.settings.environment.get("ZOOARK_NEW_PASSWORD").filter(|text| !text.is_empty())
        {
            return Ok(Credentials::password(password.clone()));
        }
        if credentials::can_ask() {
            return Ok(Credentials::Password(credentials::ask_new("the new password")?));
        }
        Err(usage("give --new-password-file or --new-key-file, or set ZOOARK_NEW_PASSWORD"))
    }

    fn label(&self) -> String {
        self.label.clone().unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
    }
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let repo = opening::repository(context)?;
    match &args.action {
        Action::List => return list(&repo, context),
        Action::Add { new } => {
            let id = keys::add(&repo, &new.credentials(context)?, &new.label())?;
            tell(context, "added", &id)?;
        }
        Action::Passwd { new } => {
            let id = keys::replace(&repo, &new.credentials(context)?, &new.label())?;
            tell(context, "replaced", &id)?;
        }
        Action::Remove { id } => tell(context, "removed", &keys::remove(&repo, id)?)?,
        Action::Rotate { with_password_file, with_key_file, remove_others, dry_run } => {
            let mut known = vec![opening::given_or_asked(context)?];
            for path in with_password_file {
                known.push(Credentials::Password(secrets::password_file(path)?));
            }
            for path in with_key_file {
                known.push(Credentials::KeyFile(secrets::key_file(path)?));
            }
            rotated(&keys::rotate(&repo, &known, *remove_others, *dry_run)?, context)?;
        }
    }
    Ok(Exit::Done)
}

fn list(repo: &engine::Repo, context: &Context) -> anyhow::Result<Exit> {
    let found = keys::list(repo)?;
    for problem in &found.damaged {
        context.output.warn(format_args!("a key slot cannot be read: {}", output::plain(problem)));
    }
    if context.output.json {
        context.output.document(&found)?;
    } else {
        let mut table = output::table(&["", "ID", "Kind", "Made", "Label"], &[]);
        for key in &found.keys {
            table.add_row([
                if key.current { "*" } else { "" }.to_owned(),
                key.short_id.clone(),
                key.kind.to_owned(),
                key.created.map(output::time).unwrap_or_default(),
                output::plain(&key.label),
            ]);
        }
        context.output.table(&table)?;
    }
    Ok(if found.damaged.is_empty() { Exit::Done } else { Exit::Damage })
}

fn tell(context: &Context, what: &str, id: &str) -> anyhow::Result<()> {
    if context.output.json {
        context.output.document(&json!({ "action": what, "id": id }))?;
    } else {
        context.output.line(format_args!("{what} key slot {id}"))?;
    }
    Ok(())
}

fn rotated(rotated: &keys::Rotated, context: &Context) -> anyhow::Result<()> {
    if context.output.json {
        context.output.document(rotated)?;
        return Ok(());
    }
    let (number, slots) = (rotated.key_number, rotated.rewritten.len());
    context.output.line(format_args!("encryption key {number} in {slots} slots"))?;
    for id in &rotated.removed {
        context.output.line(format_args!("removed key slot {id}"))?;
    }
    context.output.say(if rotated.dry_run {
        "dry run: nothing was changed"
    } else {
        "processes that are running go on with the key they know; what they write stays readable"
    });
    Ok(())
}
