//! `zoo.cfg`, a Java properties file: where the directories are and who the members are.
//!
//! From 3.5 the members may stand in a second file, named by `dynamicConfigFile`. Only what concerns the directories
//! and members is read; other keys pass.

use super::DataDirError;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A configuration is a few lines; what is longer is another file.
const CONFIG_LIMIT_BYTES: u64 = 4 << 20;

/// One `server.N=…` line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerEntry {
    /// N, the member's `myid`.
    pub id: u64,
    /// What stands behind the equals sign: `host:port:port[:role][;client address]`.
    pub address: String,
}

/// What a `zoo.cfg` says of directories and members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerConfig {
    /// Where snapshot files are.
    pub data_dir: PathBuf,
    /// Where logs are, if elsewhere.
    pub data_log_dir: Option<PathBuf>,
    /// The members, in the order of the file; empty for a standalone server.
    pub servers: Vec<ServerEntry>,
    /// `host:port` to ask this server at, from `clientPort` and `clientPortAddress`.
    pub client_address: Option<String>,
    /// The version of the dynamic configuration (the zxid of the last reconfig), where there is one.
    pub dynamic_version: Option<i64>,
}

impl ServerConfig {
    /// Reads a `zoo.cfg`, and the dynamic configuration it names. Relative paths count from the folder of the file, as
    /// far as the server's own start folder is unknown.
    pub fn read(path: &Path) -> Result<Self, DataDirError> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut data_dir = None;
        let (mut data_log_dir, mut port, mut host) = (None, None, None);
        let mut dynamic = None;
        let mut found = Members::default();
        for (line, key, value) in properties(path)? {
            match key.as_str() {
                "dataDir" => data_dir = Some(folder.join(value)),
                "dataLogDir" => data_log_dir = Some(folder.join(value)),
                "clientPort" => port = Some(value),
                "clientPortAddress" => host = Some(value),
                "dynamicConfigFile" => dynamic = Some(folder.join(value)),
                _ => found.take(path, line, &key, value)?,
            }
        }
        if let Some(dynamic) = dynamic {
            for (line, key, value) in properties(&dynamic)? {
                found.take(&dynamic, line, &key, value)?;
            }
            found.version = found.version.or_else(|| version_in_name(&dynamic));
        }
        let Some(data_dir) = data_dir else {
            return Err(DataDirError::Config {
                path: path.to_owned(),
                line: 0,
                problem: "it names no dataDir".to_owned(),
            });
        };
        let client_address = port.map(|port| format!("{}:{port}", host.as_deref().unwrap_or("localhost")));
        Ok(Self { data_dir, data_log_dir, servers: found.servers, client_address, dynamic_version: found.version })
    }
}

#[derive(Default)]
struct Members {
    servers: Vec<ServerEntry>,
    version: Option<i64>,
}

impl Members {
    fn take(&mut self, path: &Path, line: usize, key: &str, value: String) -> Result<(), DataDirError> {
        if key == "version" {
            self.version = i64::from_str_radix(&value, 16).ok();
        }
        let Some(id) = key.strip_prefix("server.") else { return Ok(()) };
        let id = id.parse().map_err(|_| DataDirError::Config {
            path: path.to_owned(),
            line,
            problem: format!("\"{key}\" names no server number"),
        })?;
        self.servers.push(ServerEntry { id, address: value });
        Ok(())
    }
}

/// The server names the file `zoo.cfg.dynamic.<hex version>`.
fn version_in_name(path: &Path) -> Option<i64> {
    i64::from_str_radix(path.extension()?.to_str()?, 16).ok()
}

/// The lines of a properties file as (line number, key, value).
fn properties(path: &Path) -> Result<Vec<(usize, String, String)>, DataDirError> {
    let io = |source| DataDirError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    fs::File::open(path).map_err(io)?.take(CONFIG_LIMIT_BYTES).read_to_end(&mut bytes).map_err(io)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut entries = Vec::new();
    let mut logical = String::new();
    for (index, raw) in text.lines().enumerate() {
        let part = raw.trim_start();
        if logical.is_empty() && (part.starts_with('#') || part.starts_with('!')) {
            continue;
        }
        if let Some(continued) = part.strip_suffix('\\') {
            logical.push_str(continued);
            continue;
        }
        logical.push_str(part.trim_end());
        let entry = std::mem::take(&mut logical);
        let Some(at) = entry.find(['=', ':']) else { continue };
        let (key, value) = entry.split_at(at);
        entries.push((index + 1, key.trim().to_owned(), value.get(1..).unwrap_or_default().trim().to_owned()));
    }
    Ok(entries)
}
