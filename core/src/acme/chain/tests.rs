use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertifiedIssuer;
use rcgen::DistinguishedName;
use rcgen::DnType;
use rcgen::IsCa;
use rcgen::KeyPair;
use rcgen::PublicKeyData;
use rcgen::SignatureAlgorithm;
use secrecy::ExposeSecret;

use super::super::key::KeyType;
use super::*;

struct Issuers {
    intermediate: CertifiedIssuer<'static, KeyPair>,
    root: CertifiedIssuer<'static, KeyPair>,
}

/// A public key of ours in the form that rcgen signs.
struct Public<'a>(&'a CertificateKey);

impl PublicKeyData for Public<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl Issuers {
    fn new() -> Self {
        let params = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        };
        let key = || KeyPair::generate().unwrap();
        let root = CertifiedIssuer::self_signed(params("Test Root X1"), key()).unwrap();
        let intermediate = CertifiedIssuer::signed_by(params("Test E1"), key(), &root).unwrap();
        Self { intermediate, root }
    }

    fn leaf(&self, key: &CertificateKey, names: &[&str]) -> String {
        let names: Vec<_> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 4, 1);
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(vec![0x87, 0x65, 0x43, 0x21].into());
        params
            .signed_by(&Public(key), &self.intermediate)
            .unwrap()
            .pem()
    }
}

fn key() -> CertificateKey {
    CertificateKey::generate(KeyType::EcdsaP256).unwrap()
}

fn names(names: &[&str]) -> Vec<Identifier> {
    names.iter().map(|n| n.parse().unwrap()).collect()
}

fn check(pem: &str, key: &CertificateKey, asked: &[&str]) -> Result<CertificateChain, ChainError> {
    let now = "2026-02-01T00:00:00Z".parse().unwrap();
    CertificateChain::check_at(pem, key, &names(asked), now)
}

#[test]
fn a_good_chain_tells_what_it_is() {
    let (issuers, key) = (Issuers::new(), key());
    let leaf = issuers.leaf(&key, &["*.example.com", "example.com"]);
    let intermediate = issuers.intermediate.as_ref().pem();
    // Other line endings and blank lines around are no harm.
    let pem = format!("\n{}\n\n{intermediate}\n", leaf.replace('\n', "\r\n"));
    let chain = check(&pem, &key, &["example.com", "*.example.com"]).unwrap();
    assert_eq!(chain.issuer, "Test E1");
    assert_eq!(chain.top_issuer, "Test Root X1");
    assert!(chain.is_under("test root x1"));
    assert_eq!(chain.not_after.to_string(), "2026-04-01T00:00:00Z");
    // With the zero that keeps the number positive, as RFC 9773 section 4.1 wants it.
    assert_eq!(chain.serial, "0087654321");
    assert!(chain.ari_id.as_ref().unwrap().ends_with(".AIdlQyE"));
    assert_eq!(chain.authority_key_id.as_ref().unwrap().len(), 40);
    assert_eq!(chain.fingerprint.len(), 64);
    assert_eq!(
        chain
            .fullchain_pem()
            .matches("-----BEGIN CERTIFICATE-----\n")
            .count(),
        2
    );
    assert!(!chain.fullchain_pem().contains('\r'));
    assert!(chain.chain_pem.ends_with("-----END CERTIFICATE-----\n"));

    let whole = format!("{leaf}{intermediate}{}", issuers.root.as_ref().pem());
    check(&whole, &key, &["example.com", "*.example.com"]).unwrap();
}

#[test]
fn a_key_among_the_certificates_is_refused() {
    let (issuers, key) = (Issuers::new(), key());
    let leaf = issuers.leaf(&key, &["example.com"]);
    for intruder in [
        key.to_pem().expose_secret().to_owned(),
        "-----BEGIN EC PRIVATE KEY-----\nAAAA".to_owned(),
        "text -----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n".to_owned(),
    ] {
        for pem in [format!("{leaf}{intruder}"), format!("{intruder}{leaf}")] {
            let error = check(&pem, &key, &["example.com"]).unwrap_err();
            assert!(matches!(error, ChainError::Injected(_)), "{error}");
        }
    }
}

#[test]
fn another_key_and_other_names_are_refused() {
    let (issuers, key) = (Issuers::new(), key());
    let leaf = issuers.leaf(&key, &["example.com", "www.example.com"]);
    let other = CertificateKey::generate(KeyType::EcdsaP256).unwrap();
    assert_eq!(
        check(&leaf, &other, &["example.com"]),
        Err(ChainError::OtherKey)
    );
    let error = check(&leaf, &key, &["example.com", "*.example.com"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the certificate is not for the names that were ordered, it lacks *.example.com, it adds www.example.com"
    );
    let address = issuers.leaf(&key, &["example.com", "192.0.2.1"]);
    assert!(matches!(
        check(&address, &key, &["example.com"]),
        Err(ChainError::Names { .. })
    ));
}

#[test]
fn certificates_that_do_not_belong_together_are_refused() {
    let (issuers, key) = (Issuers::new(), key());
    let leaf = issuers.leaf(&key, &["example.com"]);
    // The same name, another key.
    let impostor = Issuers::new().intermediate.as_ref().pem();
    for next in [impostor, issuers.root.as_ref().pem()] {
        let error = check(&format!("{leaf}{next}"), &key, &["example.com"]).unwrap_err();
        assert!(
            matches!(error, ChainError::Unlinked { index: 0, .. }),
            "{error}"
        );
    }
}

#[test]
fn certificates_are_valid_now() {
    let (issuers, key) = (Issuers::new(), key());
    let leaf = issuers.leaf(&key, &["example.com"]);
    for (now, good) in [
        ("2025-12-31T22:00:00Z", false),
        ("2025-12-31T23:30:00Z", true),
        ("2026-03-31T23:59:59Z", true),
        ("2026-04-01T00:00:01Z", false),
    ] {
        let result =
            CertificateChain::check_at(&leaf, &key, &names(&["example.com"]), now.parse().unwrap());
        assert_eq!(result.is_ok(), good, "{now}: {result:?}");
    }
}

#[test]
fn what_is_no_chain_says_so() {
    let key = key();
    let of = |pem: &str| check(pem, &key, &["example.com"]).unwrap_err();
    assert!(matches!(of(""), ChainError::Empty { .. }));
    assert!(of("<html>").to_string().contains("<html>"));
    assert!(matches!(
        of("-----BEGIN CERTIFICATE-----\nAAAA"),
        ChainError::Empty { .. } | ChainError::NotPem(_)
    ));
    assert!(matches!(
        of("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ChainError::Malformed { index: 0, .. }
    ));
}

#[test]
fn a_chain_that_is_cut_anywhere_is_not_taken_for_a_shorter_one() {
    let block = |n: u8| encode(&[vec![n; 60]]);
    let whole = block(1) + &block(2);
    let first = block(1).trim_end().len();
    for cut in 0..whole.len() {
        let taken = certificates(&whole[..cut]).map(|ders| ders.len());
        match cut {
            // Between the two, where nothing tells that there was a second.
            _ if cut == first || cut == first + 1 => assert_eq!(taken, Ok(1)),
            _ if cut == whole.trim_end().len() => assert_eq!(taken, Ok(2)),
            _ => assert!(taken.is_err(), "{cut} of {}: {taken:?}", whole.len()),
        }
    }
    assert_eq!(certificates(&whole).map(|ders| ders.len()), Ok(2));
}
