//! Scripts that misbehave, beside a real acme.sh.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// An acme.sh of a user with scripts of the user's own.
pub(crate) struct Scripts {
    dir: TempDir,
}

impl Scripts {
    pub(crate) fn new(acme_sh: &Path) -> Self {
        let dir = TempDir::with_prefix("dnseal-acme.sh-").unwrap();
        fs::copy(acme_sh.join("acme.sh"), dir.path().join("acme.sh")).unwrap();
        fs::create_dir(dir.path().join("dnsapi")).unwrap();
        let scripts = Self { dir };
        for (name, body) in SCRIPTS {
            scripts.put(name, body);
        }
        scripts
    }

    /// A script with this body for additions, and another for removals.
    pub(crate) fn put(&self, name: &str, body: &str) {
        let (add, remove) = body.split_once("---\n").unwrap_or((body, body));
        let text = format!(
            "#!/usr/bin/env sh\ndns_{name}_info='The service {name}\nSite: {name}.test\nOptions:\n TEST_Token A token\n TEST_SERVER A server\n'\n\
             dns_{name}_add() {{\n{add}}}\ndns_{name}_rm() {{\n{remove}}}\n"
        );
        fs::write(self.path().join(format!("dnsapi/dns_{name}.sh")), text).unwrap();
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().to_owned()
    }
}

const SCRIPTS: [(&str, &str); 10] = [
    (
        "fails",
        "  _info \"about to\"\n  _err \"No such zone.\"\n  _err \"Please make one.\"\n  return 1\n",
    ),
    (
        "prompts",
        "  _info \"Press enter\"\n  read -r answer || { _err \"nobody answered\"; return 1; }\n",
    ),
    ("hangs", "  sleep 1000\n"),
    (
        "fetches",
        "  _get \"https://127.0.0.1:1/\" || { _err \"no answer of the API\"; return 1; }\n",
    ),
    ("lacks", "  program-that-is-not-there \"$2\" || return 1\n"),
    (
        "later",
        "  _function_of_a_later_acme_sh \"$2\" || return 1\n",
    ),
    (
        "leaks",
        "  _err \"the token is $TEST_Token at $TEST_SERVER\"\n  return 1\n",
    ),
    (
        "tells",
        "  env | cut -d= -f1 | sort >\"$TEST_SERVER/env\"\n  id -u >\"$TEST_SERVER/user\"\n  pwd >\"$TEST_SERVER/pwd\"\n",
    ),
    (
        "saves",
        "  TEST_Token=\"${TEST_Token:-$(_readaccountconf_mutable TEST_Token)}\"\n  [ \"$TEST_Token\" ] || { _err \"no token\"; return 1; }\n  \
         _saveaccountconf_mutable TEST_Token \"$TEST_Token\"\n  \
         [ -z \"$(_readdomainconf SEEN)\" ] || { _err \"seen before\"; return 1; }\n  _savedomainconf SEEN \"$1\"\n---\n  \
         [ \"$(_readdomainconf SEEN)\" = \"$1\" ] || { _err \"not seen\"; return 1; }\n",
    ),
    (
        "absent",
        "  :\n---\n  txtvalue=$2\n  false \"$txtvalue\" || { _err \"there is no $txtvalue\"; return 1; }\n",
    ),
];
