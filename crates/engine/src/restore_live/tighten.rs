//! Sets ACLs: by themselves and not in transactions, since each may be refused for itself.

use tokio::sync::mpsc::Receiver;
use zk_connect::live::{Client, Code, LiveError};
use zk_format::AclList;

use super::decide::same_acl;
use super::writer::{Stopped, Writer, is_passing};

/// Requests under way.
const WINDOW: usize = 256;

/// Sets an ACL, where that has a version.
#[derive(Clone, Debug)]
pub struct Tighten {
    /// The node.
    pub path: Vec<u8>,
    /// The ACL.
    pub acl: AclList,
    /// The version of the present one.
    pub version: i32,
}

impl Writer<'_> {
    /// Sets ACLs.
    pub async fn tighten(&self, lists: Receiver<Tighten>) -> Result<(), Stopped> {
        let send = async |line: &Client, one: Tighten| {
            let refused = line.set_acl(&one.path, &one.acl, one.version).await.err();
            (one, refused)
        };
        let take = |(one, refused): (Tighten, Option<LiveError>)| {
            if refused.is_none() {
                self.done(1);
            }
            refused.map(|error| (one, error))
        };
        let settle = async |(one, error): (Tighten, LiveError)| self.tighten_again(&one, error).await;
        self.in_window(lists, WINDOW, send, take, settle).await
    }

    async fn tighten_again(&self, one: &Tighten, error: LiveError) -> Result<(), Stopped> {
        let lost = is_passing(&error);
        let code = match error.code() {
            _ if lost => {
                let attempt = async || match self.client.set_acl(&one.path, &one.acl, one.version).await {
                    Ok(_) => Ok(None),
                    Err(error) if !is_passing(&error) && error.code().is_some() => Ok(error.code()),
                    Err(error) => Err(error),
                };
                self.until_answered(attempt).await?.0
            }
            Some(code) => Some(code),
            None => return Err(error.into()),
        };
        let Some(code) = code else { return self.fine() };
        if lost && matches!(code, Code::BAD_VERSION | Code::NO_AUTH) {
            // It may be the first attempt's own work: its ACL tells where that may be read.
            let read = async || match self.client.get_acl(&one.path).await {
                Ok(read) => Ok(Some(same_acl(&one.acl, &read.value.0))),
                Err(error) if error.is(Code::NO_AUTH) => Ok(None),
                Err(error) => Err(error),
            };
            let (same, _) = self.until_answered(read).await?;
            if same == Some(true) || (same.is_none() && self.has_acl_version(one).await?) {
                return self.fine();
            }
        }
        let why = match code {
            Code::BAD_VERSION => "somebody changed its ACL meanwhile: left as it is".to_owned(),
            code => format!("its ACL cannot be set: {code}"),
        };
        self.fail(&one.path, why);
        Ok(())
    }

    /// Whether the ACL was set once since: asked where it may not be read any more.
    async fn has_acl_version(&self, one: &Tighten) -> Result<bool, Stopped> {
        let (stat, _) = self.until_answered(async || self.client.exists(&one.path).await).await?;
        Ok(stat.is_some_and(|stat| stat.value.aversion == one.version.wrapping_add(1)))
    }
}
