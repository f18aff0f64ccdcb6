//! A root, and what it signed for a Redis server and its clients.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
};

use super::Certificates;

impl Certificates {
    /// Writes new ones into `folder`.
    pub fn write(folder: &Path) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named("root");
        let ca = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).expect("a writable folder");
            path
        };
        let signed = |name: &str, names: &[&str]| {
            let key = KeyPair::generate().expect("a key");
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let mut params = CertificateParams::new(names).expect("parameters");
            // Not the root's name, or it would be taken for its own issuer.
            params.distinguished_name = named(name);
            let certificate = params.signed_by(&key, &ca).expect("a certificate");
            (
                write(&format!("{name}.pem"), certificate.pem()),
                write(&format!("{name}.key"), key.serialize_pem()),
            )
        };
        Self {
            server: signed("server", &["localhost", "127.0.0.1"]),
            client: signed("client", &["pillion"]),
            ca: write("ca.pem", ca.as_ref().pem()),
        }
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut full = DistinguishedName::new();
    full.push(DnType::CommonName, name);
    full
}
