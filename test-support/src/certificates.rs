//! Certificates for one test, in a folder that is gone with it.

use std::{fs, path::PathBuf, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tempfile::TempDir;

/// Serial number by which a certificate is revoked.
fn serial(stem: &str) -> SerialNumber {
    SerialNumber::from_slice(stem.as_bytes())
}

pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Another name than that of the certificates: OpenSSL takes those for self-signed
        // otherwise.
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"))
            .expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("a file");
        Self { issuer, folder }
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Writes `STEM.pem` and `STEM.key`, a certificate for these names.
    pub fn issue(&self, stem: &str, names: &[&str]) {
        self.issue_for(stem, names, &KeyPair::generate().expect("a key"));
    }

    /// The same with a key of RSA.
    pub fn issue_rsa(&self, stem: &str, names: &[&str]) {
        let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("a key");
        self.issue_for(stem, names, &key);
    }

    fn issue_for(&self, stem: &str, names: &[&str], key: &KeyPair) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.serial_number = Some(serial(stem));
        let certificate = params.signed_by(key, &self.issuer).expect("a certificate");
        fs::write(self.path(&format!("{stem}.pem")), certificate.pem()).expect("a file");
        fs::write(self.path(&format!("{stem}.key")), key.serialize_pem()).expect("a file");
    }

    /// Writes `ca.crl`, a list of the certificates with these stems that are revoked; it is current
    /// until that year.
    pub fn revoke(&self, stems: &[&str], until: i32) {
        let revoked = |stem: &&str| RevokedCertParams {
            serial_number: serial(stem),
            revocation_time: date_time_ymd(2000, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2000, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: stems.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).expect("a list");
        fs::write(self.path("ca.crl"), list.pem().expect("PEM")).expect("a file");
    }

    pub fn certificate(&self, stem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path(&format!("{stem}.pem"))).expect("a certificate")
    }

    /// A client that trusts this authority, and shows the certificate of `stem`, if any.
    pub fn client(
        &self,
        alpn: &[&str],
        versions: &[&'static SupportedProtocolVersion],
        stem: Option<&str>,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("a certificate");
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match stem {
            None => builder.with_no_client_auth(),
            Some(stem) => {
                let key =
                    PrivateKeyDer::from_pem_file(self.path(&format!("{stem}.key"))).expect("a key");
                builder
                    .with_client_auth_cert(vec![self.certificate(stem)], key)
                    .expect("a certificate")
            }
        };
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config
    }
}
