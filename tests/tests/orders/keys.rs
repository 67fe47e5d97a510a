//! Whose key a certificate is for: ours, one that is given, or one that only its signing request comes here of.

use super::*;

fn csr(names: &[&str]) -> (CertificateKey, Arc<Csr>) {
    let key = CertificateKey::generate(KeyType::EcdsaP384).unwrap();
    let names: Vec<_> = names.iter().map(|name| name.parse().unwrap()).collect();
    let csr = Csr::parse(&key.csr(&names).unwrap()).unwrap();
    (key, Arc::new(csr))
}

fn by_csr(request: Request, csr: &Arc<Csr>) -> Request {
    Request {
        key_type: csr.key_type(),
        options: options(|o| o.key = KeyChoice::Csr(csr.clone())),
        ..request
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_signing_request_never_comes_here() {
    let sandbox = Sandbox::start().await;
    let (key, csr) = csr(&NAMES);
    let request = by_csr(sandbox.request(&NAMES), &csr);
    let issued = sandbox.run(&request).await.unwrap();
    assert!(!issued.files.privkey.exists());
    let pem = std::fs::read_to_string(&issued.files.fullchain).unwrap();
    assert!(dnseal_core::acme::CertificateChain::is_for(&pem, &key));
    assert_eq!(
        issued.version.spec.key,
        KeyOrigin::Csr {
            fingerprint: csr.fingerprint().to_owned()
        }
    );
    assert!(!sandbox.run(&request).await.unwrap().issued_now);
    let keys = walk(sandbox.workbench.home())
        .into_iter()
        .filter(|path| path.contains("privkey"))
        .collect::<Vec<_>>();
    assert_eq!(keys, [""; 0]);

    // The same request serves for the next version, and another one makes it due.
    let forced = Request {
        force: true,
        ..request.clone()
    };
    assert_eq!(sandbox.run(&forced).await.unwrap().version.number, 2);
    let (_, other) = self::csr(&NAMES);
    let other = by_csr(sandbox.request(&NAMES), &other);
    assert_eq!(sandbox.run(&other).await.unwrap().version.number, 3);
    // And so does a key of our own.
    let own = sandbox.issue(&NAMES).await.unwrap();
    assert_eq!(own.version.number, 4);
    assert!(own.files.privkey.exists());
}

fn walk(directory: &std::path::Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(walk(&path)),
            false => files.push(path.display().to_string()),
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_a_signing_request_is_finished_by_the_next_run() {
    for point in Checkpoint::ALL {
        let sandbox = Sandbox::start().await;
        let (key, csr) = csr(&NAMES);
        let request = by_csr(sandbox.request(&NAMES), &csr);
        kill_at(&sandbox.workbench, &request, point);
        let issued = sandbox.run(&request).await.unwrap();
        let pem = std::fs::read_to_string(&issued.files.fullchain).unwrap();
        assert!(
            dnseal_core::acme::CertificateChain::is_for(&pem, &key),
            "{point:?}"
        );
        assert_eq!(sandbox.ours_in_dns(), [""; 0], "{point:?}");
        assert_eq!(sandbox.pending(), [""; 0], "{point:?}");
        let head = sandbox.workbench.head(&request.id).await.unwrap();
        assert!(
            head.order.is_none() && head.published.is_empty(),
            "{point:?}"
        );
        if point == Checkpoint::Finalized {
            assert_eq!(sandbox.ca.orders().len(), 1, "what is paid for is fetched");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signing_request_is_for_its_own_names() {
    let sandbox = Sandbox::start().await;
    let (_, csr) = csr(&["example.test", "www.example.test"]);
    let request = by_csr(sandbox.request(&NAMES), &csr);
    let error = sandbox.run(&request).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the signing request for example.test is for other names than asked for: it lacks *.example.test: it adds www.example.test"
    );
    assert_eq!(error.kind(), ErrorKind::Usage);
    let mut subset = by_csr(sandbox.request(&["example.test", "www.example.test"]), &csr);
    subset.options.allow_subset = true;
    let error = sandbox.run(&subset).await.unwrap_err();
    assert!(matches!(error, IssueError::CsrSubset { .. }), "{error}");
    assert!(sandbox.ca.orders().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_kept_until_a_new_one_is_asked_for() {
    let sandbox = Sandbox::start().await;
    let reuse = Request {
        force: true,
        ..with(
            sandbox.request(&NAMES),
            options(|o| o.key = KeyChoice::Reuse),
        )
    };
    let first = privkey(&sandbox.run(&reuse).await.unwrap());
    let second = privkey(&sandbox.run(&reuse).await.unwrap());
    assert_eq!(first, second);

    let mut new = Request {
        force: false,
        ..reuse.clone()
    };
    assert!(!sandbox.run(&new).await.unwrap().issued_now);
    new.options.new_key = true;
    let issued = sandbox.run(&new).await.unwrap();
    assert!(issued.issued_now);
    let third = privkey(&issued);
    assert_ne!(second, third);
    assert_eq!(third, privkey(&sandbox.run(&reuse).await.unwrap()));

    // A key of another type cannot be kept.
    let rsa = Request {
        key_type: KeyType::Rsa2048,
        ..reuse.clone()
    };
    assert_ne!(third, privkey(&sandbox.run(&rsa).await.unwrap()));
    // Nor one that the store has lost.
    let head = sandbox.workbench.head(&reuse.id).await.unwrap();
    let number = head.current.unwrap().number;
    let lost = sandbox.workbench.home().join(format!(
        "store/certificates/example.test/versions/{number:04}.privkey.pem"
    ));
    std::fs::remove_file(lost).unwrap();
    sandbox.run(&rsa).await.unwrap();
    let warnings = sandbox.workbench.warnings().join("\n");
    assert!(warnings.contains("cannot be kept"), "{warnings}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_ones_own() {
    let sandbox = Sandbox::start().await;
    let key = Arc::new(CertificateKey::generate(KeyType::Rsa2048).unwrap());
    let given = |key: &Arc<CertificateKey>, key_type| Request {
        key_type,
        ..with(
            sandbox.request(&NAMES),
            options(|o| o.key = KeyChoice::Given(key.clone())),
        )
    };
    let error = sandbox
        .run(&given(&key, KeyType::EcdsaP256))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the key that was given for example.test is rsa-2048, and ecdsa-p256 was asked for"
    );
    assert_eq!(error.kind(), ErrorKind::Usage);

    use secrecy::ExposeSecret;
    let request = given(&key, KeyType::Rsa2048);
    let issued = sandbox.run(&request).await.unwrap();
    assert_eq!(privkey(&issued), key.to_pem().expose_secret());
    assert!(!sandbox.run(&request).await.unwrap().issued_now);
    let other = Arc::new(CertificateKey::generate(KeyType::Rsa2048).unwrap());
    let issued = sandbox.run(&given(&other, KeyType::Rsa2048)).await.unwrap();
    assert_eq!(privkey(&issued), other.to_pem().expose_secret());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_the_account_is_no_key_for_a_certificate() {
    let sandbox = Sandbox::start().await;
    sandbox.issue(&NAMES).await.unwrap();
    let accounts = sandbox.workbench.home().join("store/accounts");
    let stored = std::fs::read_dir(accounts).unwrap().next().unwrap();
    let text = std::fs::read_to_string(stored.unwrap().path()).unwrap();
    let record: serde_json::Value = serde_json::from_str(&text).unwrap();
    let base64 = record["key"].as_str().unwrap();
    // PEM takes the other alphabet, padded.
    let base64 = base64.replace('-', "+").replace('_', "/");
    let padding = "=".repeat((4 - base64.len() % 4) % 4);
    let pem =
        format!("-----BEGIN PRIVATE KEY-----\n{base64}{padding}\n-----END PRIVATE KEY-----\n");
    let key = CertificateKey::from_pem(&pem.into()).unwrap();
    let request = with(
        sandbox.request(&["www.example.test"]),
        options(|o| o.key = KeyChoice::Given(Arc::new(key))),
    );
    let error = sandbox.run(&request).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("is that of the account https://"),
        "{error}"
    );
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}
