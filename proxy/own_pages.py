"""The process's own routes: is it alive, is it ready, what does it count, what does it offer, where does it send."""

from __future__ import annotations

from collections.abc import Callable

from proxy.carrier import Carrier, NoRoutingConfig
from proxy.circuit_breaker import BreakerState
from proxy.config_source import ConfigSource
from proxy.messages import Request, Response, json_response
from proxy.metrics import Metrics, Sample
from proxy.model_lists import on_both
from proxy.refusals import cannot, unknown_route, wrong_method

READING = ("GET", "HEAD")


class OwnPages:
    """Answers that need no upstream. Belongs to one event loop."""

    def __init__(
        self,
        carrier: Carrier,
        source: ConfigSource,
        metrics: Metrics,
        samples: Callable[[], list[Sample]],
        *,
        allowed_models: tuple[str, ...],
        body_limit_bytes: int,
    ) -> None:
        self._carrier = carrier
        self._source = source
        self._metrics = metrics
        self._samples = samples
        self._allowed_models = allowed_models
        self._body_limit_bytes = body_limit_bytes
        self._openapi: bytes | None = None

    def answer(self, request: Request) -> Response:
        """Answer one of the process's own routes.

        Raises:
            Refused: there is no such route, or it has another method.
        """
        own: dict[str, Callable[[], Response]] = {
            "/healthz": lambda: json_response(200, {"status": "alive"}),
            "/readyz": self._readiness,
            "/metrics": self._exposition,
            "/openapi.json": self._description,
            "/v1/bedrock/models": self._models,
        }
        answer = own.get(request.path)
        if answer is None:
            raise unknown_route()
        if request.method not in READING:
            wrong_method("GET, HEAD")
        return answer()

    def _readiness(self) -> Response:
        paths = self._carrier.usable_paths()
        document = {
            "ready": self._is_ready(),
            "generation": self._source.generation,
            "usable_paths": paths,
        }
        return json_response(200 if self._is_ready() else 503, document)

    def _exposition(self) -> Response:
        samples = self._samples()
        for name, state in self._carrier.states.items():
            labels = (("path", name),)
            closed = state.breaker.state is BreakerState.CLOSED
            samples.append(("twinspan_proxy_path_closed", labels, float(closed)))
            samples.append(("twinspan_proxy_in_flight", labels, float(state.upstream.in_flight)))
            samples.append(("twinspan_proxy_pooled", labels, float(state.upstream.idle)))
        body = self._metrics.prometheus(samples).encode()
        headers = [
            (b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
        ]
        return Response(200, headers, body)

    def _description(self) -> Response:
        if self._openapi is None:
            # Here, so that a cold start does not load what it will hardly be asked for.
            from proxy.openapi import encoded

            self._openapi = encoded(self._body_limit_bytes)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(self._openapi)).encode()),
        ]
        return Response(200, headers, self._openapi)

    def _models(self) -> Response:
        """What deployment and policy let through: Bedrock's own list is not served by its runtime endpoint."""
        config, listed = self._source.current, self._allowed_models
        if config is not None and (published := config.allowed_models):
            listed = on_both(listed, published) if listed else published
            is_listed = True
        else:
            is_listed = bool(listed)
        models = [{"modelId": model} for model in listed]
        document = {"modelSummaries": models, "allowListed": is_listed}
        return json_response(200, document)

    def routing_information(self) -> Response:
        """The routing config in use, as the MVP's clients ask for it.

        Raises:
            Refused: none has been loaded yet.
        """
        config = self._source.current
        if config is None:
            raise cannot(NoRoutingConfig(0))
        paths = []
        for path in config.paths:
            state = self._carrier.states.get(path.name)
            paths.append(
                {
                    "name": path.name,
                    "routing_method": path.routing_method,
                    "state": path.state,
                    "breaker": state.breaker.state.value if state else None,
                }
            )
        document = {
            "link_id": config.link_id,
            "generation": config.generation,
            "active_path": config.active_path,
            "routing_method": next(
                p.routing_method for p in config.paths if p.name == config.active_path
            ),
            "paths": paths,
            "data_classes": {name: list(m) for name, m in config.data_classes.items()},
            "allowed_models": list(config.allowed_models),
            "resend": config.resend,
            "source_partition": "govcloud",
            "destination_partition": "commercial",
        }
        return json_response(200, document)

    def _is_ready(self) -> bool:
        """Whether a config is loaded and some path is not ejected."""
        return self._source.current is not None and bool(self._carrier.usable_paths())
