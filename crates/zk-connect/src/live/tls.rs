//! TLS to the servers' secure client port: whom we trust, who we are, and that a server is the one we asked for.
//!
//! A server's certificate must lead to a trusted one and carry the host's name, or its address, as it was given, among
//! its subject alternative names. There is no way to go without either check.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use p12_keystore::{KeyStore, KeyStoreEntry, Pkcs12ImportPolicy};
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{AlertDescription, CertificateError, ClientConfig, Error as Rustls, RootCertStore};

use super::error::{Broken, LiveError};

/// Longer is no file of keys or certificates; a system's bundle has about 250 KB.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// What the set-up for TLS is read from.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// PEM: the certificates to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// PEM: our own certificate, and those between it and one that the server trusts.
    pub cert: Option<PathBuf>,
    /// PEM: the key to it, not encrypted.
    pub key: Option<PathBuf>,
    /// PKCS#12: key and certificates, and, where `ca` is not given, the trusted certificates in it.
    pub pkcs12: Option<PathBuf>,
    /// To the PKCS#12 file.
    pub password: Option<SecretString>,
}

impl TlsFiles {
    /// Whether nothing was given.
    pub const fn is_empty(&self) -> bool {
        self.ca.is_none() && self.cert.is_none() && self.key.is_none() && self.pkcs12.is_none()
    }
}

/// A set-up that can be used for any number of connections.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(hidden)")
    }
}

/// A key and the certificates that go with it.
type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Tls {
    /// Reads the files.
    pub fn load(files: &TlsFiles) -> Result<Self, LiveError> {
        let (mut identity, mut trusted) = (None, Vec::new());
        if let Some(path) = &files.pkcs12 {
            (identity, trusted) = keystore(path, files.password.as_ref())?;
        }
        match (&files.cert, &files.key) {
            (None, None) => {}
            (Some(_), Some(_)) if identity.is_some() => {
                return Err(setup("--tls-pkcs12 and --tls-cert both say who we are: give one of them"));
            }
            (Some(cert), Some(key)) => identity = Some((certificates(cert)?, private_key(key)?)),
            (Some(_), None) => return Err(setup("--tls-cert says who we are and --tls-key is missing: give both")),
            (None, Some(_)) => return Err(setup("--tls-key is the key to a certificate: give --tls-cert too")),
        }
        if let Some(path) = &files.ca {
            trusted = certificates(path)?;
        }
        let roots = roots(trusted, files)?;
        let of = |text: &str, source: Rustls| broken_setup(text.to_owned(), source);
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| of("TLS cannot be set up", error))?
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| of("the client's certificate and key cannot be used together", error))?,
        };
        Ok(Self { config: Arc::new(config) })
    }

    /// What was set up.
    pub(crate) fn config(&self) -> ClientConfig {
        (*self.config).clone()
    }

    /// The handshake with a server that was asked for by this `host:port`.
    pub(super) async fn wrap(&self, host: &str, socket: TcpStream) -> Result<TlsStream<TcpStream>, Broken> {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        let server = ServerName::try_from(name.clone())
            .map_err(|_| Broken::Tls(format!("{name} is not a name that a certificate can have")))?;
        let shaken = TlsConnector::from(self.config.clone()).connect(server, socket).await;
        shaken.map_err(|error| match Broken::from(error) {
            Broken::Closed => Broken::Tls(
                "the server closed the connection during the TLS handshake; is this its secureClientPort?".to_owned(),
            ),
            other => other,
        })
    }
}

/// What a failure inside TLS means, and what to do.
pub(crate) fn explained(error: &Rustls) -> String {
    let text = error.to_string();
    let advice = match error {
        Rustls::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "the certificate is not signed by anybody we trust; name its CA with --tls-ca"
        }
        Rustls::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => {
            "the certificate is for another host; write the host as the certificate's subject alternative names have it"
        }
        Rustls::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "the certificate has expired"
        }
        Rustls::InvalidCertificate(_) => "the server's certificate cannot be trusted",
        Rustls::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::HandshakeFailure,
        ) => {
            "the server refuses us; it may want a client certificate that it trusts: --tls-cert and --tls-key, or --tls-pkcs12"
        }
        Rustls::AlertReceived(
            AlertDescription::UnknownCA | AlertDescription::CertificateUnknown | AlertDescription::AccessDenied,
        ) => "the server does not trust our certificate",
        Rustls::InvalidMessage(_) => "the server does not speak TLS there; is this its secureClientPort?",
        _ => return text,
    };
    format!("{advice} ({text})")
}

fn roots(trusted: Vec<CertificateDer<'static>>, files: &TlsFiles) -> Result<RootCertStore, LiveError> {
    let mut store = RootCertStore::empty();
    if trusted.is_empty() {
        // What cannot be read of the system's is missed only where nothing is left.
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if store.is_empty() {
            return Err(setup("this system names no certificates to trust: give --tls-ca FILE"));
        }
        return Ok(store);
    }
    let origin = files.ca.as_deref().or(files.pkcs12.as_deref()).unwrap_or_else(|| Path::new(""));
    for certificate in trusted {
        store.add(certificate).map_err(|error| {
            broken_setup(format!("a certificate in {} cannot be trusted as a CA", origin.display()), error)
        })?;
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, LiveError> {
    let bytes = read(path)?;
    let unreadable = |error| broken_setup(format!("{} is not a PEM file of certificates", path.display()), error);
    let found: Vec<_> = CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(unreadable)?;
    if found.is_empty() {
        return Err(setup(&format!("{} has no certificate: it must be PEM (BEGIN CERTIFICATE)", path.display())));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, LiveError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| {
        let advice = "must be PEM and not encrypted (an encrypted key goes into --tls-pkcs12)";
        broken_setup(format!("{} has no private key: it {advice}", path.display()), error)
    })
}

type Stored = (Option<Identity>, Vec<CertificateDer<'static>>);

fn keystore(path: &Path, password: Option<&SecretString>) -> Result<Stored, LiveError> {
    let bytes = read(path)?;
    let password = password.map(ExposeSecret::expose_secret).unwrap_or_default();
    let store = KeyStore::from_pkcs12(&bytes, password, Pkcs12ImportPolicy::Strict).map_err(|error| {
        let advice = "it must be PKCS#12, and --tls-password-file must have its password";
        broken_setup(format!("{} cannot be opened: {advice}", path.display()), error)
    })?;
    let mut identity = None;
    let mut trusted = Vec::new();
    for (_, entry) in store.entries() {
        match entry {
            KeyStoreEntry::PrivateKeyChain(chain) => {
                if identity.is_some() {
                    return Err(setup(&format!("{} has several keys: leave the one to use", path.display())));
                }
                let certificates = chain.certs().iter().map(|found| CertificateDer::from(found.as_der().to_vec()));
                let key = PrivateKeyDer::try_from(chain.key().as_der().to_vec())
                    .map_err(|why| setup(&format!("the key in {} cannot be used: {why}", path.display())))?;
                identity = Some((certificates.collect(), key));
            }
            KeyStoreEntry::Certificate(certificate) => trusted.push(certificate.as_der().to_vec().into()),
            KeyStoreEntry::Secret(_) => {}
        }
    }
    if identity.is_none() && trusted.is_empty() {
        return Err(setup(&format!("{} has neither a key with its certificate nor a trusted one", path.display())));
    }
    Ok((identity, trusted))
}

fn read(path: &Path) -> Result<Vec<u8>, LiveError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut bytes))
        .map_err(|error| broken_setup(format!("reading {} for TLS", path.display()), error))?;
    Ok(bytes)
}

fn setup(what: &str) -> LiveError {
    LiveError::Setup { what: what.to_owned(), source: None }
}

fn broken_setup(what: String, source: impl std::error::Error + Send + Sync + 'static) -> LiveError {
    LiveError::Setup { what, source: Some(Box::new(source)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(files: &TlsFiles) -> String {
        Tls::load(files).unwrap_err().to_string()
    }

    #[test]
    fn a_set_up_that_cannot_work_is_told_by_file_and_flag() {
        let folder = tempfile::tempdir().unwrap();
        let garbage = folder.path().join("garbage");
        std::fs::write(&garbage, b"not a key\n").unwrap();
        let some = Some(garbage.clone());
        let none = TlsFiles::default;
        assert!(refused(&TlsFiles { ca: some.clone(), ..none() }).contains("garbage has no certificate"));
        assert!(refused(&TlsFiles { cert: some.clone(), ..none() }).contains("--tls-key is missing"));
        assert!(refused(&TlsFiles { key: some.clone(), ..none() }).contains("--tls-cert"));
        assert!(refused(&TlsFiles { pkcs12: some.clone(), ..none() }).contains("--tls-password-file"));
        let missing = TlsFiles { ca: Some(folder.path().join("missing")), ..none() };
        assert!(refused(&missing).contains("missing for TLS"));
    }
}
