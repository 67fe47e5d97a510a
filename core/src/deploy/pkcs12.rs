//! PKCS#12 (RFC 7292): private key and certificates in one file, for Java, Windows and what else wants a "keystore".
//!
//! Both are encrypted with PBES2 (RFC 8018): PBKDF2 with HMAC-SHA-256, AES-256-CBC. The whole is authenticated by an HMAC with SHA-256. That is what
//! OpenSSL 3 writes by default, and what OpenSSL 1.1, Java 8u301, Windows Server 2019 and all later ones read.

use aws_lc_rs::cipher::AES_256;
use aws_lc_rs::cipher::PaddedBlockEncryptingKey;
use aws_lc_rs::cipher::UnboundCipherKey;
use aws_lc_rs::digest;
use aws_lc_rs::hmac;
use aws_lc_rs::pbkdf2;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use yasna::DERWriter;
use yasna::Tag;
use yasna::models::ObjectIdentifier;
use zeroize::Zeroizing;

use crate::deploy::Bundle;

/// The file for `bundle`, called `name` in lists of keys, opened by `password`.
pub(super) fn encode(
    name: &str,
    bundle: &Bundle<'_>,
    privkey: &SecretString,
    password: &SecretString,
) -> Result<Vec<u8>, String> {
    let password = password.expose_secret();
    let key = pem::parse(privkey.expose_secret()).map_err(|e| e.to_string())?;
    let key = Zeroizing::new(key.into_contents());
    let certificates = pem::parse_many(bundle.fullchain).map_err(|e| e.to_string())?;
    let Some(leaf) = certificates.first() else {
        return Err("there is no certificate".to_owned());
    };
    // Says which certificate the key is for; any octets do.
    let link = digest::digest(&digest::SHA256, leaf.contents());
    let attributes = |writer: DERWriter<'_>| attributes(writer, name, link.as_ref());

    let certificate_bags = yasna::construct_der(|writer| {
        writer.write_sequence(|bags| {
            for (index, certificate) in certificates.iter().enumerate() {
                bags.next().write_sequence(|bag| {
                    bag.next().write_oid(&oid(CERTIFICATE_BAG));
                    explicit(bag.next(), |value| {
                        value.write_sequence(|value| {
                            value.next().write_oid(&oid(X509_CERTIFICATE));
                            explicit(value.next(), |w| w.write_bytes(certificate.contents()));
                        });
                    });
                    if index == 0 {
                        attributes(bag.next());
                    }
                });
            }
        });
    });
    let certificates = Encrypted::new(&certificate_bags, password)?;
    let key = Encrypted::new(&key, password)?;
    let key_bags = yasna::construct_der(|writer| {
        writer.write_sequence(|bags| {
            bags.next().write_sequence(|bag| {
                bag.next().write_oid(&oid(SHROUDED_KEY_BAG));
                explicit(bag.next(), |value| {
                    value.write_sequence(|value| {
                        key.algorithm(value.next());
                        value.next().write_bytes(&key.content);
                    });
                });
                attributes(bag.next());
            });
        });
    });
    let safe = yasna::construct_der(|writer| {
        writer.write_sequence(|contents| {
            contents.next().write_sequence(|info| {
                info.next().write_oid(&oid(ENCRYPTED_DATA));
                explicit(info.next(), |value| {
                    value.write_sequence(|value| {
                        value.next().write_u8(0);
                        value.next().write_sequence(|content| {
                            content.next().write_oid(&oid(DATA));
                            certificates.algorithm(content.next());
                            content.next().write_tagged_implicit(Tag::context(0), |w| {
                                w.write_bytes(&certificates.content);
                            });
                        });
                    });
                });
            });
            contents.next().write_sequence(|info| data(info, &key_bags));
        });
    });

    let salt: [u8; SALT] = random()?;
    let mac_key = derive_mac_key(password, &salt);
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &*mac_key), &safe);
    Ok(yasna::construct_der(|writer| {
        writer.write_sequence(|pfx| {
            pfx.next().write_u8(3);
            pfx.next().write_sequence(|info| data(info, &safe));
            pfx.next().write_sequence(|mac_data| {
                mac_data.next().write_sequence(|digest_info| {
                    digest_info.next().write_sequence(|algorithm| {
                        algorithm.next().write_oid(&oid(SHA_256));
                        algorithm.next().write_null();
                    });
                    digest_info.next().write_bytes(mac.as_ref());
                });
                mac_data.next().write_bytes(&salt);
                mac_data.next().write_u32(ITERATIONS);
            });
        });
    }))
}

/// Content under PBES2 (RFC 8018 section 6.2).
struct Encrypted {
    content: Vec<u8>,
    iv: Vec<u8>,
    salt: [u8; SALT],
}

impl Encrypted {
    fn new(content: &[u8], password: &str) -> Result<Self, String> {
        let failed = |_| "the encryption failed".to_owned();
        let salt = random()?;
        let mut key = Zeroizing::new([0; 32]);
        let iterations = std::num::NonZeroU32::new(ITERATIONS).unwrap_or(std::num::NonZeroU32::MIN);
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            iterations,
            &salt,
            password.as_bytes(),
            &mut *key,
        );
        let key = UnboundCipherKey::new(&AES_256, &*key).map_err(failed)?;
        let cipher = PaddedBlockEncryptingKey::cbc_pkcs7(key).map_err(failed)?;
        let mut content = content.to_vec();
        let context = cipher.encrypt(&mut content).map_err(failed)?;
        let iv: &[u8] = (&context).try_into().map_err(failed)?;
        Ok(Self {
            iv: iv.to_vec(),
            content,
            salt,
        })
    }

    fn algorithm(&self, writer: DERWriter<'_>) {
        writer.write_sequence(|algorithm| {
            algorithm.next().write_oid(&oid(PBES2));
            algorithm.next().write_sequence(|parameters| {
                parameters.next().write_sequence(|derivation| {
                    derivation.next().write_oid(&oid(PBKDF2));
                    derivation.next().write_sequence(|parameters| {
                        parameters.next().write_bytes(&self.salt);
                        parameters.next().write_u32(ITERATIONS);
                        parameters.next().write_sequence(|function| {
                            function.next().write_oid(&oid(HMAC_SHA_256));
                            function.next().write_null();
                        });
                    });
                });
                parameters.next().write_sequence(|scheme| {
                    scheme.next().write_oid(&oid(AES_256_CBC));
                    scheme.next().write_bytes(&self.iv);
                });
            });
        });
    }
}

/// The key of the HMAC (RFC 7292 appendix B.2 with ID 3). SHA-256 gives as many octets as are needed, so one round of its outer loop is all.
fn derive_mac_key(password: &str, salt: &[u8; SALT]) -> Zeroizing<[u8; 32]> {
    const BLOCK: usize = 64;
    let password: Zeroizing<Vec<u8>> = Zeroizing::new(
        password
            .encode_utf16()
            .chain([0])
            .flat_map(u16::to_be_bytes)
            .collect(),
    );
    let filled = |bytes: &[u8]| -> Vec<u8> {
        let length = bytes.len().div_ceil(BLOCK) * BLOCK;
        bytes.iter().copied().cycle().take(length).collect()
    };
    let mut input = Zeroizing::new(vec![3_u8; BLOCK]);
    input.extend(filled(salt));
    input.extend(filled(&password));
    let mut hash = digest::digest(&digest::SHA256, &input);
    for _ in 1..ITERATIONS {
        hash = digest::digest(&digest::SHA256, hash.as_ref());
    }
    let mut key = Zeroizing::new([0; 32]);
    key.copy_from_slice(hash.as_ref());
    key
}

/// What makes programs show a name, and find the certificate of a key.
fn attributes(writer: DERWriter<'_>, name: &str, link: &[u8]) {
    writer.write_set_of(|attributes| {
        attributes.next().write_sequence(|attribute| {
            attribute.next().write_oid(&oid(FRIENDLY_NAME));
            attribute
                .next()
                .write_set_of(|values| values.next().write_bmp_string(name));
        });
        attributes.next().write_sequence(|attribute| {
            attribute.next().write_oid(&oid(LOCAL_KEY_ID));
            attribute
                .next()
                .write_set_of(|values| values.next().write_bytes(link));
        });
    });
}

fn data(info: &mut yasna::DERWriterSeq<'_>, content: &[u8]) {
    info.next().write_oid(&oid(DATA));
    explicit(info.next(), |w| w.write_bytes(content));
}

fn explicit(writer: DERWriter<'_>, content: impl FnOnce(DERWriter<'_>)) {
    writer.write_tagged(Tag::context(0), content);
}

fn oid(components: &[u64]) -> ObjectIdentifier {
    ObjectIdentifier::from_slice(components)
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "no randomness".to_owned())?;
    Ok(bytes)
}

const AES_256_CBC: &[u64] = &[2, 16, 840, 1, 101, 3, 4, 1, 42];
const CERTIFICATE_BAG: &[u64] = &[1, 2, 840, 113549, 1, 12, 10, 1, 3];
const DATA: &[u64] = &[1, 2, 840, 113549, 1, 7, 1];
const ENCRYPTED_DATA: &[u64] = &[1, 2, 840, 113549, 1, 7, 6];
const FRIENDLY_NAME: &[u64] = &[1, 2, 840, 113549, 1, 9, 20];
const HMAC_SHA_256: &[u64] = &[1, 2, 840, 113549, 2, 9];
const LOCAL_KEY_ID: &[u64] = &[1, 2, 840, 113549, 1, 9, 21];
const PBES2: &[u64] = &[1, 2, 840, 113549, 1, 5, 13];
const PBKDF2: &[u64] = &[1, 2, 840, 113549, 1, 5, 12];
const SHA_256: &[u64] = &[2, 16, 840, 1, 101, 3, 4, 2, 1];
const SHROUDED_KEY_BAG: &[u64] = &[1, 2, 840, 113549, 1, 12, 10, 1, 2];
const X509_CERTIFICATE: &[u64] = &[1, 2, 840, 113549, 1, 9, 22, 1];

/// Some hundredths of a second: passwords of keystores are short.
const ITERATIONS: u32 = 100_000;
/// Octets of salt (RFC 8018 section 4.1 wants eight at least).
const SALT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_begins_as_der_and_says_nothing_of_key_or_password() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["a.test".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap()
            .pem();
        let privkey = SecretString::from(key.serialize_pem());
        let bundle = Bundle {
            privkey: Some(&privkey),
            cert: &certificate,
            chain: "",
            fullchain: &certificate,
        };
        let password = SecretString::from("canary-päss");
        let file = encode("a.test", &bundle, &privkey, &password).unwrap();
        assert_eq!(file[0], 0x30);
        let contains = |needle: &[u8]| file.windows(needle.len()).any(|window| window == needle);
        assert!(!contains(b"canary"));
        assert!(!contains(&key.serialize_der()[30..60]));
    }
}
