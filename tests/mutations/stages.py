"""Mutations of keys, of resuming and of the plan."""

from mutations._mutation import Mutation

_STAGE = "pipeline/test_stage.py"

STAGES = (
    Mutation(
        "the key of a stage does not hold its settings",
        "pipeline/stage.py",
        "stage.name, settings, inputs, before])",
        "stage.name, inputs, before])",
        (f"{_STAGE}::test_a_key_holds_settings_and_inputs_and_the_stages_that_are_followed",),
    ),
    Mutation(
        "the key of a stage does not hold its input files",
        "pipeline/stage.py",
        "stage.name, settings, inputs, before])",
        "stage.name, settings, before])",
        (f"{_STAGE}::test_a_key_holds_settings_and_inputs_and_the_stages_that_are_followed",),
    ),
    Mutation(
        "the key of a stage does not hold those of the stages that it follows",
        "pipeline/stage.py",
        "stage.name, settings, inputs, before])",
        "stage.name, settings, inputs])",
        (f"{_STAGE}::test_a_key_holds_settings_and_inputs_and_the_stages_that_are_followed",),
    ),
    Mutation(
        "a stage whose key changed counts as done",
        "pipeline/stage.py",
        "same = run.folder.key(stage.name) == key",
        "same = run.folder.key(stage.name) is not None",
        (f"{_STAGE}::test_a_changed_setting_does_a_stage_and_those_after_it_again",),
    ),
    Mutation(
        "a stage counts as done with a damaged file",
        "pipeline/stage.py",
        "if same and not damaged and stage.is_sound(run):",
        "if same and stage.is_sound(run):",
        (f"{_STAGE}::test_a_damaged_file_is_not_reused",),
    ),
    Mutation(
        "a stage that resumes finds its damaged file in its place",
        "pipeline/stage.py",
        "            run.folder.remove(name)\n",
        "            pass\n",
        (f"{_STAGE}::test_a_damaged_file_is_not_reused",),
    ),
    Mutation(
        "images are drawn without regard to the decoder that gave their values",
        "pipeline/reconstruct/_5_draw.py",
        '    after=("decode",),\n',
        "    after=(),\n",
        (f"{_STAGE}::test_every_stage_follows_those_whose_results_it_reads",),
    ),
    Mutation(
        "scores do not follow the controls",
        "pipeline/reconstruct/_6_score.py",
        'after=("generate", "audit-drawing")',
        'after=("generate",)',
        (f"{_STAGE}::test_every_stage_follows_those_whose_results_it_reads",),
    ),
    Mutation(
        "encoding models do not follow the responses",
        "pipeline/encode/_5_fit.py",
        'after=("responses", "reduce")',
        'after=("reduce",)',
        (f"{_STAGE}::test_every_stage_follows_those_whose_results_it_reads",),
    ),
    Mutation(
        "another seed draws the same images",
        "pipeline/reconstruct/_5_draw.py",
        "        config.seed,\n        protocol.one_noise,\n",
        "        protocol.one_noise,\n",
        (f"{_STAGE}::test_each_setting_is_in_the_stages_that_read_it",),
    ),
    Mutation(
        "the protocol's unit of responses is not in the key of decoding",
        "pipeline/reconstruct/_3_decode.py",
        "return [own, protocol.released_ridge, protocol.beta_scale]",
        "return [own, protocol.released_ridge]",
        ("test_run_protocols.py::test_each_field_changes_the_stages_that_honour_it",),
    ),
    Mutation(
        "images of other settings are found in their folder",
        "pipeline/drawings.py",
        'f"{drawing.name}-{run.keys[stage]}"',
        'f"{drawing.name}"',
        (f"{_STAGE}::test_what_is_written_shard_by_shard_is_named_by_its_key",),
    ),
    Mutation(
        "models of other settings are found in their folder",
        "pipeline/encoding.py",
        "f\"scores-{run.keys['encode']}\"",
        '"scores"',
        (f"{_STAGE}::test_what_is_written_shard_by_shard_is_named_by_its_key",),
    ),
    Mutation(
        "a shard with other bytes than were written is read",
        "store/sharded.py",
        "return values if checksum(values) == mark.read_text() else None",
        "return values",
        ("test_store.py::test_a_sound_shard_of_other_values_than_its_mark_says_is_done_again",),
    ),
    Mutation(
        "the plan leaves out what decoding costs",
        "pipeline/reconstruct/_3_decode.py",
        '    leftovers="decoders",\n    cost=_cost,\n',
        '    leftovers="decoders",\n',
        (
            "pipeline/test_plan.py::"
            "test_every_stage_that_takes_its_time_is_planned_the_audits_where_it_is_on",
        ),
    ),
    Mutation(
        "the plan adds the memory of stages that run one after the other",
        "pipeline/_plan.py",
        "max(c.memory_bytes for c in every)",
        "sum(c.memory_bytes for c in every)",
        ("pipeline/test_plan.py::test_the_total_adds_up",),
    ),
    Mutation(
        "the plan counts one pass of the U-Net where guidance takes two",
        "pipeline/reconstruct/_5_draw.py",
        'passes = 1 if ports == {"start"} or generate.guidance == 1 else 2',
        "passes = 1",
        ("pipeline/test_plan.py::test_drawing_is_priced_by_the_operations_of_the_u_net",),
    ),
)
