//! Idempotency tokens of orders, which outlive a run that is killed.

use std::{fs, io::ErrorKind, path::PathBuf, time::SystemTime};

use data_encoding::HEXLOWER;

use super::{Ec2, NAME};
use crate::{project::make_private_folder, provider::Error};

/// How long EC2 remembers a token, in seconds (<https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html>
/// says a day at least).
const TOKEN_AGE: u64 = 12 * 60 * 60;

/// The idempotency token of an order, by which EC2 recognizes a repeated request. It is kept in a file
/// until the outcome is known.
pub(super) struct Token {
    path: PathBuf,
    pub text: String,
}

impl Token {
    fn path(provider: &Ec2, name: &str) -> PathBuf {
        let file = format!("{}-{}{name}", provider.name, provider.prefix);
        provider.data.join("orders").join(file)
    }

    /// The token of an order of this name: a new one, or that of a run that did not see the outcome.
    pub fn take(provider: &Ec2, name: &str) -> Result<Self, Error> {
        let fail = |error: std::io::Error| Error::Failed {
            provider: NAME.to_owned(),
            what: "keeping the token of an order".to_owned(),
            cause: error.to_string(),
        };
        let path = Token::path(provider, name);
        make_private_folder(path.parent().unwrap_or(&provider.data)).map_err(fail)?;
        let is_old = fs::metadata(&path)
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|at| SystemTime::now().duration_since(at).ok())
            .is_some_and(|age| age.as_secs() >= TOKEN_AGE);
        if is_old {
            fs::remove_file(&path).map_err(fail)?;
        }
        let bytes: [u8; 16] = std::array::from_fn(|_| fastrand::u8(..));
        let text = format!("hitc-{}", HEXLOWER.encode(&bytes));
        // Two processes that order at the same time use the token of the first.
        let folder = path.parent().unwrap_or(&provider.data);
        let file = tempfile::NamedTempFile::new_in(folder).map_err(fail)?;
        fs::write(file.path(), &text).map_err(fail)?;
        let text = match file.persist_noclobber(&path) {
            Ok(_) => text,
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => {
                fs::read_to_string(&path).map_err(fail)?
            }
            Err(error) => return Err(fail(error.error)),
        };
        Ok(Token { path, text })
    }

    /// Forgets the token of a server that exists or was terminated: the next order is a new one.
    pub fn forget_of(provider: &Ec2, name: &str) {
        // See below.
        let _ = fs::remove_file(Token::path(provider, name));
    }

    pub fn forget(&self) {
        // A stale token does no harm: an order looks for an existing instance first.
        let _ = fs::remove_file(&self.path);
    }
}
