//! The choice of a provider: probe, take the best that can, say why.

use stillpoint_model::{Context, Provider, ProviderError, ProviderKind, Suitability, TreeRequest};

use crate::{BtrfsProvider, CopyProvider, ReflinkProvider};

/// All providers, the best first.
pub fn all() -> Vec<Box<dyn Provider>> {
    vec![Box::new(BtrfsProvider), Box::new(ReflinkProvider::default()), Box::new(CopyProvider::default())]
}

/// Chooses the provider for a tree: the one that is `forced`, else the best that is suitable. The text says why it, and
/// why not the better ones.
///
/// Errors: the forced one is not suitable, or none is; the text says why and what to do.
pub fn choose(
    request: &TreeRequest,
    forced: Option<ProviderKind>,
    context: &Context,
) -> Result<(Box<dyn Provider>, String), ProviderError> {
    let source = request.source.display();
    // Once, instead of from every provider.
    std::fs::metadata(&request.source).map_err(|error| ProviderError::Io {
        act: "look at",
        path: request.source.clone(),
        source: error,
    })?;
    let mut passed_over = Vec::new();
    for provider in all() {
        let kind = provider.kind();
        if forced.is_some_and(|wanted| wanted != kind) {
            continue;
        }
        match provider.probe(request, context) {
            Suitability::Suitable(sign) if forced.is_some() => {
                return Ok((provider, format!("as the site file demands: {sign}")));
            }
            Suitability::Suitable(sign) => {
                passed_over.insert(0, sign);
                return Ok((provider, passed_over.join("; ")));
            }
            Suitability::Unsuitable(why) if forced.is_some() => {
                return Err(ProviderError::Other(format!(
                    "the site file demands the provider {kind} for {source}, which cannot serve it: {why}; \
                     remove the demand to let the best one be chosen, or demand another"
                )));
            }
            Suitability::Unsuitable(why) => passed_over.push(format!("not {kind}: {why}")),
        }
    }
    Err(ProviderError::Other(format!("no provider can serve {source}: {}", passed_over.join("; "))))
}
