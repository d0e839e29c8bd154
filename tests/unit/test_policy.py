"""The policy: what an operator may write, what it means at a moment, and how a wrong one is explained."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from control_plane.domain.change_windows import ChangeWindow, next_opening
from control_plane.domain.policy import Mode, Policy
from control_plane.domain.policy_check import advice, check_policy
from tests.builders import NOON, later, topology

# Noon of the tests is a Sunday.
SUNDAY = NOON


def problems_of(document, link=None) -> list[str]:
    """What `check_policy` has to say, one line each."""
    text = document if isinstance(document, str) else json.dumps(document)
    policy, found = check_policy(text, link)
    assert (policy is None) is bool(found)
    return [problem.describe() for problem in found]


class TestCheck:
    """Every wrong field, with what may help."""

    def test_all_wrong_fields_are_named_at_once(self):
        """Somebody who writes a policy does not learn of its faults one by one."""
        found = problems_of(
            {
                "hold_down_secs": 1,
                "mode": "auto",
                "failback": {"stable": 3},
                "latency": {"warning_ms": -1},
                "quarantine": [{"path": "tunnel-1", "until": "tomorrow"}],
            }
        )
        assert [line.split(":")[0] for line in found] == [
            "mode",
            "failback.stable",
            "quarantine.0.reason",
            "quarantine.0.until",
            "latency.warning_ms",
            "hold_down_secs",
        ]

    @pytest.mark.parametrize(
        ("document", "hint"),
        [
            ({"hold_down_secs": 1}, "did you mean hold_down_seconds?"),
            ({"failback": {"stable": 3}}, "did you mean stable_seconds?"),
            ({"quarantine": [{"path": "a", "reason": "b", "untl": "c"}]}, "did you mean until?"),
            ({"pause": {"reason": "b", "untill": "c"}}, "did you mean until?"),
            ({"latency": {"warning_ms": "slow"}}, "the default is 1000"),
            ({"errors": {"zzz": 1}}, "known here: fail_ratio, recover_ratio"),
        ],
    )
    def test_a_wrong_field_comes_with_the_name_that_was_meant_or_its_default(self, document, hint):
        """A hint beats a schema."""
        assert any(hint in line for line in problems_of(document))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{\n", "line 2 column 1"),
            ("[]", "document: Input should be a valid dictionary"),
            ('{"mode": "paused", "mode": "automatic"}', "mode: given twice"),
            (
                '{"data_classes": {"default": ["vpn"], "{{x}}": []}}',
                "which Parameter Store refuses",
            ),
            (json.dumps({"x" * 5000: 1}), "a parameter holds 4096"),
        ],
    )
    def test_what_no_schema_sees_is_found_too(self, text, message):
        """Broken JSON, a key given twice, and what the store would not take."""
        assert any(message in line for line in problems_of(text))

    def test_every_path_that_the_link_lacks_is_named(self):
        """Not only the first."""
        document = {
            "path_order": ["tunnel-8", "tunnel-1", "tunnel-9"],
            "quarantine": [{"path": "tunnel-7", "reason": "x", "until": "2027-01-01T00:00:00Z"}],
        }
        found = problems_of(document, topology())
        assert [line.split(":")[0] for line in found] == [
            "path_order.0",
            "path_order.2",
            "quarantine.0.path",
        ]

    def test_no_problem_repeats_a_value(self):
        """A secret pasted into the wrong field is not printed."""
        found = problems_of({"mode": "hunter2", "latency": {"warning_ms": "hunter2"}})
        assert found
        assert "hunter2" not in "".join(found)

    @pytest.mark.parametrize(
        ("document", "said"),
        [
            ({"mode": "paused"}, "`pause` with an `until`"),
            (
                {"pause": {"reason": "x", "until": "2026-01-01T00:00:00Z"}},
                "pause: ended at 2026-01-01",
            ),
            (
                {
                    "quarantine": [
                        {"path": "tunnel-1", "reason": "x", "until": "2026-01-01T00:00:00Z"}
                    ]
                },
                "quarantine.0: ended at",
            ),
            ({"path_order": ["tunnel-1", "tunnel-1"]}, "names a path twice"),
            ({"maximum_switches_per_hour": 1}, "cannot be left for an hour"),
            ({"flap_damping": {"penalty_per_switch": 1}}, "never reach suppress_limit"),
            (
                {
                    "hysteresis": {
                        "failed_observations_to_fail": 5,
                        "healthy_observations_to_recover": 1,
                    }
                },
                "invites flapping",
            ),
            ({"probe": {"attempts": 2, "required": 2}}, "one lost packet fails a path"),
            ({"lease_seconds": 5}, "outlast the lease"),
            ({"maximum_source_age": {"probe_seconds": 1}}, "too old before it is read"),
            ({"data_classes": {"default": ["vpn"], "secret": []}}, "may use no routing method"),
            ({"data_classes": {"default": ["vpn", "internet"]}}, "may use the internet"),
            ({"data_classes": {"default": ["internet"]}}, "no path of bedrock may be used"),
            (
                {
                    "quarantine": [
                        {"path": "tunnel-1", "reason": "x", "until": "2027-01-01T00:00:00Z"}
                    ]
                },
                "only tunnel-2 of bedrock may be used",
            ),
        ],
    )
    def test_what_is_allowed_and_unwise_is_advised_against(self, document, said):
        """Such a policy is valid, and the author is told."""
        policy, found = check_policy(json.dumps(document), topology())
        assert found == []
        assert policy is not None
        assert any(said in line for line in advice(policy, topology(), NOON))

    def test_the_defaults_need_no_advice(self):
        """What stands without a word is sound."""
        assert advice(Policy(), topology(), NOON) == []


class TestDefaults:
    """The numbers that hold when nobody chose any."""

    def test_the_limits_of_the_design_are_the_defaults(self):
        """Warning at one second, critical at two, told after ten minutes; a tenth of errors after two."""
        policy = Policy()
        assert (policy.latency.warning_ms, policy.latency.critical_ms) == (1000, 2000)
        assert policy.latency.alert_after_seconds == 600
        assert (policy.errors.alert_ratio, policy.errors.alert_after_seconds) == (0.1, 120)

    def test_without_a_stored_policy_nothing_is_touched(self):
        """A policy that was deleted may have held a quarantine or a pause."""
        absent = Policy.absent()
        assert not absent.stored
        assert absent.mode is Mode.OBSERVE

    def test_nobody_can_write_the_policy_that_stands_for_none(self):
        """Its version is not one that parses."""
        assert problems_of({"version": 0})

    def test_a_policy_of_the_first_version_still_parses(self):
        """Everything that an operator could have stored before means what it meant."""
        document = {
            "schema_version": 1,
            "version": 7,
            "mode": "approve",
            "path_order": ["tunnel-2", "tunnel-1"],
            "hysteresis": {"failed_observations_to_fail": 2, "healthy_observations_to_recover": 3},
            "hold_down_seconds": 60,
            "failback": {"automation": "manual", "stable_seconds": 5},
            "flap_damping": {
                "penalty_per_switch": 1000,
                "half_life_seconds": 8,
                "suppress_limit": 1500,
                "reuse_limit": 750,
                "maximum_suppress_seconds": 60,
            },
            "maximum_switches_per_hour": 60,
            "maximum_route_changes_per_plan": 2,
            "drift_repair": "manual",
            "data_classes": {"default": ["vpn"], "public": ["vpn", "internet"]},
            "quarantine": [{"path": "tunnel-2", "reason": "x", "until": "2026-03-01T00:00:00Z"}],
            "probe": {"attempts": 2, "required": 1, "timeout_seconds": 0.4, "model_id": "m"},
            "latency": {"warning_ms": 1000, "critical_ms": 2000},
            "maximum_signal_age_seconds": 10,
            "maximum_rounds": 2,
            "lease_seconds": 30,
            "approval_seconds": 60,
        }
        policy = Policy.from_json(json.dumps(document))
        assert (
            json.loads(policy.model_dump_json()).items()
            >= {
                key: value
                for key, value in document.items()
                if key not in ("failback", "latency", "data_classes")
            }.items()
        )
        assert policy.failback.stable_seconds == 5
        assert policy.permits(topology().paths[0].routing_method)


class TestPause:
    """A stop that ends by itself."""

    def test_a_pause_holds_until_its_end(self):
        """Afterwards the policy's mode is in force again."""
        policy = Policy(pause={"reason": "release night", "until": later(60)})
        assert policy.mode_at(later(59)) is Mode.PAUSED
        assert policy.mode_at(later(60)) is Mode.AUTOMATIC


class TestChangeWindows:
    """Weekly, in UTC."""

    NIGHT = ChangeWindow(days=("sat",), opens="22:00", closes="02:00")

    @pytest.mark.parametrize(
        ("day", "hour", "minute", "inside"),
        [
            (28, 21, 59, False),
            (28, 22, 0, True),
            (1, 1, 59, True),
            (1, 2, 0, False),
            (1, 22, 30, False),
        ],
    )
    def test_a_window_through_midnight_belongs_to_the_day_on_which_it_opened(
        self, day, hour, minute, inside
    ):
        """Saturday's night ends on Sunday morning; Sunday has none of its own."""
        month = 2 if day == 28 else 3
        assert self.NIGHT.contains(datetime(2026, month, day, hour, minute, tzinfo=UTC)) is inside

    def test_without_windows_any_time_will_do(self):
        """None means now."""
        assert next_opening((), SUNDAY) is None

    def test_the_next_opening_of_several_windows_is_the_nearest(self):
        """Monday's comes before Saturday's."""
        monday = ChangeWindow(days=("mon",), opens="09:00", closes="17:00")
        expected = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
        assert next_opening((self.NIGHT, monday), SUNDAY) == expected

    def test_a_window_of_today_that_is_over_opens_again_in_a_week(self):
        """A week is looked ahead, and not a day less."""
        window = ChangeWindow(days=("sun",), opens="09:00", closes="10:00")
        assert next_opening((window,), SUNDAY) == datetime(2026, 3, 8, 9, 0, tzinfo=UTC)

    def test_an_open_window_means_now(self):
        """A whole day is open at all of its hours."""
        assert next_opening((ChangeWindow(opens="00:00", closes="24:00"),), SUNDAY) is None

    @pytest.mark.parametrize(("opens", "closes"), [("9:00", "10:00"), ("25:00", "26:00")])
    def test_a_time_that_is_none_is_refused(self, opens, closes):
        """Hours and minutes, two digits each."""
        window = {"opens": opens, "closes": closes}
        found = problems_of({"failback": {"change_windows": [window]}})
        assert "failback.change_windows.0.opens: must be a time of day in UTC" in found[0]

    def test_a_window_without_length_is_refused(self):
        """It would never be open, or always."""
        window = {"opens": "10:00", "closes": "10:00"}
        assert "must differ" in problems_of({"failback": {"change_windows": [window]}})[0]


def test_a_path_named_twice_in_the_order_keeps_its_first_place():
    """The order is one of paths, each once."""
    policy = Policy(path_order=("tunnel-2", "tunnel-1", "tunnel-2"))
    assert policy.order(topology()) == ("tunnel-2", "tunnel-1")


def test_a_quarantine_holds_by_the_moment_and_not_by_its_offset():
    """Two o'clock in Berlin is noon in UTC less a quarter."""
    until = (NOON + timedelta(seconds=60)).astimezone(timezone(timedelta(hours=2)))
    policy = Policy(quarantine=({"path": "tunnel-1", "reason": "x", "until": until},))
    assert policy.quarantined("tunnel-1", later(59)) is not None
    assert policy.quarantined("tunnel-1", later(60)) is None


def test_a_path_that_the_link_lacks_is_named_with_those_that_it_has():
    """Field by field, so that each can be put right."""
    policy = Policy(
        path_order=("tunnel-2", "tunnel-7"),
        quarantine=({"path": "tunnel-9", "reason": "x", "until": later(60)},),
    )
    assert policy.unknown_paths(topology()) == [
        ("path_order.1", "no path 'tunnel-7' on bedrock (has tunnel-1, tunnel-2)"),
        ("quarantine.0.path", "no path 'tunnel-9' on bedrock (has tunnel-1, tunnel-2)"),
    ]
