//! TLS to Postgres with libpq's meaning of `sslmode`: `allow`, `prefer` and `require` encrypt, `verify-ca` also checks who
//! signed the certificate, `verify-full` also checks the host's name.
//! <https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION>

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::config::SslMode;

use crate::tls::EncryptOnly;

const PREFER: &[SslMode] = &[SslMode::Prefer, SslMode::Disable];

/// What is checked of the server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    Nothing,
    Chain,
    ChainAndName,
}

/// `sslmode` and `sslrootcert`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tls {
    /// Tried in this order; the next one only when the server refuses the one before.
    attempts: &'static [SslMode],
    check: Check,
    /// A PEM file with the trusted certificates; None: the machine's own.
    roots: Option<PathBuf>,
}

impl Default for Tls {
    fn default() -> Self {
        Self { attempts: PREFER, check: Check::Nothing, roots: None }
    }
}

impl Tls {
    /// None: there is no such mode.
    pub(super) fn of(mode: Option<&str>, roots: Option<PathBuf>) -> Option<Self> {
        let (attempts, check): (&[SslMode], _) = match mode.unwrap_or("prefer") {
            "disable" => (&[SslMode::Disable], Check::Nothing),
            "allow" => (&[SslMode::Disable, SslMode::Require], Check::Nothing),
            "prefer" => (PREFER, Check::Nothing),
            // As in libpq, `require` with a root certificate means `verify-ca`.
            "require" if roots.is_some() => (&[SslMode::Require], Check::Chain),
            "require" => (&[SslMode::Require], Check::Nothing),
            "verify-ca" => (&[SslMode::Require], Check::Chain),
            "verify-full" => (&[SslMode::Require], Check::ChainAndName),
            _ => return None,
        };
        Some(Self { attempts, check, roots })
    }

    pub(super) fn attempts(&self) -> &'static [SslMode] {
        self.attempts
    }

    /// A client configuration. The root certificates are read at every connection: they may be renewed.
    pub(super) fn client_config(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let verifier: Arc<dyn ServerCertVerifier> = match self.check {
            Check::Nothing => Arc::new(EncryptOnly::new(provider)),
            check => {
                let roots = Arc::new(read_roots(self.roots.as_deref())?);
                let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
                let verifier = verifier.map_err(|error| format!("sslrootcert: {error}"))?;
                if check == Check::Chain { Arc::new(ChainOnly(verifier)) } else { verifier }
            }
        };
        Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    }
}

fn read_roots(file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let failed = |error: &dyn std::fmt::Display| format!("sslrootcert {}: {error}", file.display());
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| failed(&error))? {
        let certificate = certificate.map_err(|error| failed(&error))?;
        roots.add(certificate).map_err(|error| failed(&error))?;
    }
    if roots.is_empty() {
        return Err(failed(&"holds no certificate"));
    }
    Ok(roots)
}

/// Checks who signed the certificate. The name is checked last, so an error about the name says that the chain is good.
#[derive(Debug)]
struct ChainOnly(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_mean_what_libpq_means() {
        use SslMode::{Disable, Prefer, Require};
        let root = Some(PathBuf::from("/root.crt"));
        for (mode, roots, attempts, check) in [
            (Some("disable"), None, &[Disable] as &[_], Check::Nothing),
            (Some("allow"), None, &[Disable, Require], Check::Nothing),
            (Some("prefer"), None, &[Prefer, Disable], Check::Nothing),
            (None, None, &[Prefer, Disable], Check::Nothing),
            (Some("require"), None, &[Require], Check::Nothing),
            (Some("require"), root.clone(), &[Require], Check::Chain),
            (Some("verify-ca"), None, &[Require], Check::Chain),
            (Some("verify-full"), root, &[Require], Check::ChainAndName),
        ] {
            let tls = Tls::of(mode, roots.clone());
            let expected = attempts.to_vec();
            assert_eq!(tls.map(|tls| (tls.attempts.to_vec(), tls.check, tls.roots)), Some((expected, check, roots)));
        }
        assert_eq!(Tls::of(Some("yes"), None), None);
    }

    #[test]
    fn roots_that_cannot_be_read_are_named() {
        let tls = Tls::of(Some("verify-full"), Some("/nowhere/root.crt".into()));
        let error = tls.map(|tls| tls.client_config().map(|_| ()));
        assert!(matches!(&error, Some(Err(text)) if text.contains("/nowhere/root.crt")), "{error:?}");
    }
}
