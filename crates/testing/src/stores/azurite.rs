//! Azurite: Azure's blobs over a directory, for the one account that the emulators have.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

/// The emulators' account, whose key is public:
/// <https://learn.microsoft.com/azure/storage/common/storage-use-azurite#well-known-storage-account-and-key>.
pub(super) const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

pub(super) const ENVIRONMENT: [(&str, &str); 2] =
    [("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT), ("AZURE_STORAGE_ACCOUNT_KEY", KEY)];

/// Signs and sends the request that makes a container; Node is there because the server runs on it.
const CREATE_CONTAINER: &str = include_str!("create-container.js");

pub(super) fn command(command: &mut Command, home: &Path, port: u16, data: &Path) {
    command.arg("node").arg(home.join("node_modules/azurite/dist/src/blob/main.js"));
    command.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string(), "--location"]).arg(data);
    command.args(["--silent", "--disableTelemetry", "--skipApiVersionCheck"]);
}

pub(super) fn make_container(port: u16, name: &str) -> Result<()> {
    let made = Command::new("node").args(["-e", CREATE_CONTAINER, &port.to_string(), ACCOUNT, KEY, name]).output()?;
    if !made.status.success() {
        bail!("{}", String::from_utf8_lossy(&made.stderr));
    }
    Ok(())
}
