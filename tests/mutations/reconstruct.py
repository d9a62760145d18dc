"""Mutations of what the stages of a reconstruction compute and pass to each other."""

from mutations._mutation import Mutation

_WIRING = "pipeline/test_wiring.py"
_DRAWING = "pipeline/test_drawing.py"
_RELEASED = "pipeline/test_released_protocol.py"
_DECODE = "pipeline/reconstruct/_3_decode.py"
_CONTROLS = "pipeline/reconstruct/_4_controls.py"
_DRAW = "pipeline/reconstruct/_5_draw.py"
_DRAWINGS = "pipeline/drawings.py"
_SCORE = "pipeline/reconstruct/_6_score.py"
_AUDIT = "pipeline/reconstruct/_7_audit.py"
_REPORT = "pipeline/reconstruct/_8_report.py"
_DECODED = f"{_WIRING}::test_every_decoded_value_is_that_of_scikit_learn"
_SOURCES = f"{_WIRING}::test_each_source_gives_the_values_that_it_names"
_AUDITED = f"{_WIRING}::test_the_audit_receives_what_its_names_say"
_NULL = f"{_WIRING}::test_null_responses_have_mean_and_deviation_of_every_voxel"
_SETTINGS = f"{_DRAWING}::test_every_condition_is_drawn_with_the_experiments_settings"
_SHARD = f"{_DRAWING}::test_a_shard_is_drawn_from_its_own_rows_and_written_as_bytes"

RECONSTRUCT = (
    # --- decoding ---
    Mutation(
        "decoded test rows are reversed",
        _DECODE,
        "predicted = decoder.predict(in_protocol_units(test[: len(run.test_ids)], config))",
        "predicted = decoder.predict(in_protocol_units(test[: len(run.test_ids)], config))[::-1]",
        (_DECODED,),
    ),
    Mutation(
        "takagi2023: test responses are not scaled as training responses",
        _DECODE,
        "predicted = decoder.predict(in_protocol_units(test[: len(run.test_ids)], config))",
        "predicted = decoder.predict(test[: len(run.test_ids)])",
        (f"{_RELEASED}::test_test_responses_are_scaled_as_training_responses",),
    ),
    Mutation(
        "every target is decoded from the test responses of the first one's regions",
        _DECODE,
        'run.cached("test", rois, lambda',
        'run.cached("test", "all", lambda',
        (_DECODED,),
    ),
    Mutation(
        "every target is decoded from the regions of the first one",
        _DECODE,
        "_part(run, name, block), run.config.decode.rois[name], run.config",
        "_part(run, name, block), next(iter(run.config.decode.rois.values())), run.config",
        (_DECODED,),
    ),
    Mutation(
        "every block of a decoder is written over the first",
        _DECODE,
        "whole[slice(*block)] = values",
        "whole[: len(values)] = values",
        (f"{_WIRING}::test_blocks_of_a_decoder_are_joined_in_their_places",),
    ),
    Mutation(
        "the scores of decoded values are of other test images",
        _DECODE,
        '"r": pearson_r(flat(truth), predicted)',
        '"r": pearson_r(flat(truth)[::-1], predicted)',
        (f"{_WIRING}::test_blocks_of_a_decoder_are_joined_in_their_places",),
    ),
    Mutation(
        "takagi2023: responses are divided by 300 instead of multiplied",
        "pipeline/experiment.py",
        "betas * np.float32(scale)",
        "betas / np.float32(scale)",
        ("test_run_protocols.py::test_stages_take_what_the_protocol_says",),
    ),
    # --- controls ---
    Mutation(
        "the noise control has no mean of the voxels",
        _CONTROLS,
        "noise = test.mean(axis=0, dtype=np.float64) + test.std(axis=0, dtype=np.float64) * noise",
        "noise = test.std(axis=0, dtype=np.float64) * noise",
        (_NULL,),
    ),
    Mutation(
        "the noise control has no standard deviation of the voxels",
        _CONTROLS,
        "noise = test.mean(axis=0, dtype=np.float64) + test.std(axis=0, dtype=np.float64) * noise",
        "noise = test.mean(axis=0, dtype=np.float64) + noise",
        (_NULL,),
    ),
    Mutation(
        "the mean control is the mean of the test responses",
        _CONTROLS,
        "mean = train.mean(axis=0, dtype=np.float64)",
        "mean = test.mean(axis=0, dtype=np.float64)",
        (_NULL,),
    ),
    Mutation(
        "takagi2023: null responses are not scaled as training responses",
        _CONTROLS,
        "train, test = (in_protocol_units(betas, run.config) for betas in both)",
        "train, test = both",
        (f"{_RELEASED}::test_null_responses_are_scaled_as_training_responses",),
    ),
    Mutation(
        "takagi2023: responses of a held-out cluster are not scaled",
        _CONTROLS,
        "in_protocol_units(test.mean_betas(rois), run.config),",
        "test.mean_betas(rois),",
        (f"{_RELEASED}::test_responses_of_held_out_clusters_are_scaled_as_training_responses",),
    ),
    Mutation(
        "a held-out cluster stays in training",
        _CONTROLS,
        'labels["train"][train.stimulus_rows] != cluster',
        'labels["train"][train.stimulus_rows] >= 0',
        (f"{_WIRING}::test_every_held_out_value_is_decoded_without_its_cluster",),
    ),
    Mutation(
        "clusters are those of trials, not of their stimuli",
        _CONTROLS,
        'labels["train"][train.stimulus_rows] != cluster',
        'np.resize(labels["train"], train.n_trials) != cluster',
        (f"{_WIRING}::test_every_held_out_value_is_decoded_without_its_cluster",),
    ),
    Mutation(
        "clusters come from decoded test content instead of true",
        _CONTROLS,
        "    rows = flat(features(run, content_target(targets(run)), ids))\n",
        "    name = content_target(targets(run))\n"
        "    rows = flat(features(run, name, ids)).copy()\n"
        '    values = load_arrays(run.path / "decoded" / f"{name}.safetensors")["predicted"]\n'
        "    rows[n_train:] = flat(values)\n",
        (f"{_WIRING}::test_clusters_are_those_of_the_true_content",),
    ),
    # --- what is drawn ---
    Mutation(
        "swapped does not swap",
        _DRAW,
        "values[name] = values[name][order]",
        "values[name] = values[name]",
        (_SOURCES,),
    ),
    Mutation(
        "swapped exchanges the layout, too",
        _DRAW,
        'if found[name].carries == "content":',
        "if found[name].carries:",
        (_SOURCES,),
    ),
    Mutation(
        "ceilings are drawn from decoded values",
        _DRAW,
        "return features(run, name, run.test_ids)",
        "return decoded(run, name)",
        (_SOURCES,),
    ),
    Mutation(
        "shuffled is not shuffled",
        _DRAW,
        "return decoded(run, name)[donors(len(run.test_ids), run.config.seed)]",
        "return decoded(run, name)",
        (_SOURCES,),
    ),
    Mutation(
        "every control is drawn from noise",
        _DRAW,
        'arrays[drawing.source.replace("-", "_")]',
        'arrays["noise"]',
        (_SOURCES,),
    ),
    Mutation(
        "a stimulus may be its own donor",
        "pipeline/drawings.py",
        "order[cycle] = np.roll(cycle, 1)",
        "order[cycle] = cycle[::-1]",
        ("pipeline/test_drawings.py::test_every_brain_is_anothers",),
    ),
    Mutation(
        "seeds belong to the condition as well as to the stimulus",
        _DRAW,
        "seeds=noise_seeds(config, stimulus_ids, samples)",
        'seeds=noise_seeds(config, tuple(f"{condition} {i}" for i in stimulus_ids), samples)',
        (_SETTINGS,),
    ),
    Mutation(
        "every shard has the seeds of the first",
        _DRAW,
        "        run.test_ids[rows],\n",
        "        run.test_ids[: rows.stop - rows.start],\n",
        (_SHARD,),
    ),
    Mutation(
        "every shard is drawn from the values of the first",
        _DRAW,
        "{name: of[rows] for name, of in values.items()}",
        "{name: of[: rows.stop - rows.start] for name, of in values.items()}",
        (_SHARD,),
    ),
    Mutation(
        "takagi2023: images have a noise each",
        "pipeline/drawings.py",
        "one_noise = config.run_protocol.one_noise",
        "one_noise = False",
        (f"{_DRAWING}::test_a_seed_belongs_to_its_stimulus_and_sample",),
    ),
    Mutation(
        "takagi2023: images are rounded to 8 bit instead of cut off",
        _DRAW,
        "as_bytes(images, run.config.run_protocol.truncates)",
        "as_bytes(images)",
        (_SHARD,),
    ),
    Mutation(
        "takagi2023: the image of a start is rounded to 8 bit instead of cut off",
        _DRAWINGS,
        "        truncate=protocol.truncates,\n",
        "",
        (_SETTINGS,),
    ),
    Mutation(
        "the strength of the experiment is ignored",
        _DRAWINGS,
        "        strength=generate.strength,\n",
        "",
        (_SETTINGS,),
    ),
    # --- scores ---
    Mutation(
        "images of a shard are scored with the originals of its other end",
        _SCORE,
        "shard(row // stored.shard_size)[row % stored.shard_size, sample]",
        "shard(row // stored.shard_size)[-1 - row % stored.shard_size, sample]",
        (f"{_WIRING}::test_every_image_is_scored_with_its_own_original",),
    ),
    Mutation(
        "every sample is scored as the first",
        _SCORE,
        "[row % stored.shard_size, sample]",
        "[row % stored.shard_size, 0]",
        (f"{_WIRING}::test_every_image_is_scored_with_its_own_original",),
    ),
    Mutation(
        "decoded and true values change places in retrieval",
        _SCORE,
        "retrieval(truth, decoded, k)",
        "retrieval(decoded, truth, k)",
        (f"{_WIRING}::test_retrieval_scores_every_direction_against_a_loop",),
    ),
    Mutation(
        "the nearest training stimulus is found without centring",
        _SCORE,
        "training, centred=True)",
        "training)",
        ("pipeline/test_run.py::test_the_nearest_training_image_is_scored_as_a_baseline",),
    ),
    # --- the audit ---
    Mutation(
        "the audit takes shuffled scores for those of the mean response",
        _AUDIT,
        'mean_scores=scores.get("mean-response")',
        'mean_scores=scores.get("shuffled")',
        (_AUDITED,),
    ),
    Mutation(
        "the audit takes ordinary embeddings for held-out ones",
        _AUDIT,
        "held_out_embeddings=None if held_out is None else _of_drawing(run, held_out, encoder)[1]",
        "held_out_embeddings=None if held_out is None else embeddings",
        (_AUDITED,),
    ),
    Mutation(
        "the audit takes identification for the score of layout",
        _AUDIT,
        "layout_scores=layout.get(judged),\n        baseline",
        "layout_scores=scores.get(judged),\n        baseline",
        (_AUDITED,),
    ),
    Mutation(
        "the audit takes true features for decoded ones",
        _AUDIT,
        "predicted_features=flat(decoded(run, name))",
        "predicted_features=flat(features(run, name, run.test_ids))",
        (_AUDITED,),
    ),
    Mutation(
        "the audit takes the scores of images in the order of their file",
        _AUDIT,
        '.loc[list(run.test_ids), "score"]',
        '.loc[sorted(run.test_ids, reverse=True), "score"]',
        (_AUDITED,),
    ),
    Mutation(
        "swapped images are compared with the donor of layout only",
        _AUDIT,
        "of_content = donors(len(run.test_ids), run.config.seed)",
        "of_content = np.arange(len(run.test_ids))",
        (
            f"{_WIRING}::"
            "test_the_audit_compares_swapped_images_with_the_donors_of_layout_and_content",
        ),
    ),
    # --- the report ---
    Mutation(
        "the contact sheet shows the worst images as the best",
        _REPORT,
        "rows = choose_rows(\n        identification,\n",
        "rows = choose_rows(\n        -identification,\n",
        (f"{_WIRING}::test_the_sheet_shows_the_best_first_each_beside_its_own_images",),
    ),
    Mutation(
        "the contact sheet shows images beside other originals",
        _REPORT,
        "stored_images(run, drawings[name]).take(chosen)",
        "stored_images(run, drawings[name]).take(sorted(chosen))",
        (f"{_WIRING}::test_the_sheet_shows_the_best_first_each_beside_its_own_images",),
    ),
    Mutation(
        "the nearest training stimuli of the report are found without centring",
        _REPORT,
        "single_unit_rows(rows - mean)",
        "single_unit_rows(rows)",
        (f"{_WIRING}::test_the_nearest_training_stimuli_are_those_of_a_loop",),
    ),
    Mutation(
        "decoded values are drawn at the scale of the regression",
        "pipeline/reconstruct/_5_draw.py",
        "as_drawn(run, found[name], decoded) for name, decoded in values.items()",
        "decoded for name, decoded in values.items()",
        (
            "pipeline/test_image_target.py::"
            "test_decoded_embeddings_are_drawn_at_the_length_of_the_training_ones",
        ),
    ),
    Mutation(
        "another adapter leaves the images as they are",
        "pipeline/reconstruct/_5_draw.py",
        "    inputs=adapter_hashes,\n    is_sound=_are_drawn,",
        "    is_sound=_are_drawn,",
        (
            "pipeline/test_image_target.py::"
            "test_other_weights_are_noticed_by_the_first_stage_that_reads_them",
        ),
    ),
    Mutation(
        "another encoder leaves true values as they are",
        "pipeline/reconstruct/_2_targets.py",
        "inputs=target_hashes,",
        "",
        (
            "pipeline/test_image_target.py::"
            "test_other_weights_are_noticed_by_the_first_stage_that_reads_them",
        ),
    ),
    Mutation(
        "without captions nothing is drawn together",
        "pipeline/drawings.py",
        "if named is None:",
        "if False:",
        ("pipeline/test_drawings.py::test_without_captions_everything_together_is_what_is_left",),
    ),
)
