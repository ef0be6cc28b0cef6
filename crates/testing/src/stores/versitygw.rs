//! versitygw: S3 over a directory, a folder of it for each bucket.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

const ACCESS: &str = "root-of-the-gateway";
const SECRET: &str = "secret-of-the-gateway";

/// The gateway's own account, which may do everything.
pub(super) const ENVIRONMENT: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", ACCESS), ("AWS_SECRET_ACCESS_KEY", SECRET)];

pub(super) fn command(command: &mut Command, home: &Path, port: u16, folder: &Path, flags: &[&str]) {
    command.arg(home.join("versitygw")).args(["--access", ACCESS, "--secret", SECRET, "--quiet", "--keep-alive"]);
    command.args(["--port", &format!("127.0.0.1:{port}"), "--iam-dir"]).arg(folder.join("accounts"));
    command.arg("--access-log").arg(folder.join("requests")).args(flags);
    command.arg("posix").arg(folder.join("data"));
}

pub(super) fn make_bucket(data: &Path, name: &str) -> Result<()> {
    Ok(std::fs::create_dir(data.join(name))?)
}

/// Sets a bucket's policy, where the gateway keeps it.
pub(super) fn set_policy(data: &Path, bucket: &str, policy: &str) -> Result<()> {
    let flags = rustix::fs::XattrFlags::empty();
    Ok(rustix::fs::setxattr(data.join(bucket), "user.policy", policy.as_bytes(), flags)?)
}

/// Whether what is in this bucket stays as it is for a hundred years.
pub(super) fn lock_bucket(data: &Path, bucket: &str, locked: bool) -> Result<()> {
    let name = "user.bucket-lock";
    if !locked {
        return Ok(rustix::fs::removexattr(data.join(bucket), name)?);
    }
    let lock = concat!(
        r#"{"Enabled":true,"CreatedAt":"2026-01-01T00:00:00Z","#,
        r#""DefaultRetention":{"Mode":"COMPLIANCE","Days":null,"Years":100}}"#
    );
    Ok(rustix::fs::setxattr(data.join(bucket), name, lock.as_bytes(), rustix::fs::XattrFlags::empty())?)
}

pub(super) fn make_account(home: &Path, endpoint: &str, access: &str, secret: &str) -> Result<()> {
    let mut admin = Command::new(home.join("versitygw"));
    admin.args(["admin", "--access", ACCESS, "--secret", SECRET, "--endpoint-url", endpoint]);
    let made = admin.args(["create-user", "--access", access, "--secret", secret, "--role", "user"]).output()?;
    if !made.status.success() {
        bail!("making account {access}: {}", String::from_utf8_lossy(&made.stderr));
    }
    Ok(())
}
