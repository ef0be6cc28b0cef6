//! Paths as callers write them and as the server has them.

use super::Client;

impl Client {
    /// The server's form of a path: below the chroot, and the root as `/`.
    pub(crate) fn on_wire(&self, path: &[u8]) -> Vec<u8> {
        on_wire(&self.options().chroot, path)
    }

    /// The caller's form of a path that the server named; `None` where it is not below the chroot.
    pub fn relative(&self, path: &[u8]) -> Option<Vec<u8>> {
        relative(&self.options().chroot, path)
    }
}

fn on_wire(chroot: &[u8], path: &[u8]) -> Vec<u8> {
    let path = if path == b"/" { b"" } else { path };
    if chroot.is_empty() && path.is_empty() { b"/".to_vec() } else { [chroot, path].concat() }
}

fn relative(chroot: &[u8], path: &[u8]) -> Option<Vec<u8>> {
    let path = if path == b"/" { b"" } else { path };
    let rest = path.strip_prefix(chroot)?;
    (rest.is_empty() || rest.starts_with(b"/")).then(|| rest.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let (none, app): (&[u8], &[u8]) = (b"", b"/app");
        for (chroot, path, wire) in
            [(none, &b""[..], &b"/"[..]), (none, b"/a", b"/a"), (app, b"", b"/app"), (app, b"/a", b"/app/a")]
        {
            assert_eq!(on_wire(chroot, path), wire);
            assert_eq!(relative(chroot, wire).as_deref(), Some(path));
        }
        assert_eq!(on_wire(app, b"/"), app);
        assert_eq!(relative(app, b"/application"), None);
    }
}
