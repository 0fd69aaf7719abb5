//! Errors of the engine's API, as bollard returns them.

use bollard::errors::Error as BollardError;

/// Whether the connection to the engine ended before its answer, or the answer did not come in time.
pub(super) fn is_broken(error: &BollardError) -> bool {
    match error {
        BollardError::RequestTimeoutError | BollardError::IOError { .. } => true,
        BollardError::HyperResponseError { err } => !err.is_user(),
        BollardError::HyperLegacyError { err } => !is_of_body(err),
        _ => false,
    }
}

/// Whether the body of a request could not be read.
fn is_of_body(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|cause| {
        let cause = cause.downcast_ref::<hyper::Error>();
        cause.is_some_and(hyper::Error::is_user)
    })
}

/// Whether the engine answered that the container or image does not exist.
pub(super) fn is_missing(error: &BollardError) -> bool {
    matches!(
        error,
        BollardError::DockerResponseServerError {
            status_code: 404,
            ..
        }
    )
}

/// The root cause of an error, without bollard's own words around it.
pub(crate) fn cause(error: &BollardError) -> String {
    match error {
        BollardError::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        BollardError::DockerStreamError { error } => error.trim().to_owned(),
        BollardError::RequestTimeoutError => "no answer in time".to_owned(),
        other => {
            let mut root: &dyn std::error::Error = other;
            while let Some(source) = root.source() {
                root = source;
            }
            crate::core::diagnostic::plain(root)
        }
    }
}
