//! fake-gcs-server: Google Cloud Storage over a directory. It asks for no credentials.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use super::http;

pub(super) fn command(command: &mut Command, home: &Path, port: u16, public_port: u16, data: &Path) {
    let address = format!("127.0.0.1:{public_port}");
    command.arg(home.join("fake-gcs-server")).args(["-scheme", "http", "-host", "127.0.0.1", "-log-level", "error"]);
    command.args(["-port", &port.to_string(), "-public-host", &address, "-external-url", &format!("http://{address}")]);
    command.args(["-backend", "filesystem", "-filesystem-root"]).arg(data);
}

pub(super) fn make_bucket(port: u16, name: &str) -> Result<()> {
    match http::request(port, "POST", "/storage/v1/b?project=tests", &format!("{{\"name\":\"{name}\"}}"))? {
        200 => Ok(()),
        status => bail!("the server answered {status}"),
    }
}
