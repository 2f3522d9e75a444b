import type { Json, LanguageModel, LinearSite } from '@whetstone/core/contract';
import { sortKeys } from '@whetstone/core/util';
import { describeSavedModules } from './saved-modules.js';
import type { LoraOptions } from './options.js';
import { describePatterns, describeTargets } from './stored-targets.js';
import { describeTokenRows, type TokenRows } from './token-rows.js';

/** The PEFT release whose format of `adapter_config.json` is written. */
const peftVersion = '0.21.2';

/**
 * Creates `adapter_config.json` of a LoRA adapter with every field that PEFT writes, keys sorted. Its fields select the
 * adapted modules of this model by PEFT's rules, even if PEFT would not accept the options.
 */
export function loraAdapterConfig(
  model: LanguageModel,
  targets: readonly LinearSite[],
  options: LoraOptions,
  modelFolder: string | null,
  tokenRows: readonly TokenRows[],
  peftType: string,
): Json {
  const selection = describeTargets(model, targets, options);
  return sortKeys({
    alora_invocation_tokens: null,
    alpha_pattern: describePatterns(targets, options.alphaPattern),
    arrow_config: null,
    auto_mapping: null,
    base_model_name_or_path: modelFolder ?? model.folder,
    bias: options.bias,
    corda_config: null,
    ensure_weight_tying: false,
    eva_config: null,
    exclude_modules: selection.excludeModules,
    fan_in_fan_out: targets.some((site) => site.fanInFanOut),
    inference_mode: true,
    init_lora_weights: options.initLoraWeights === 'gaussian' ? 'gaussian' : true,
    kasa_config: null,
    layer_replication: null,
    layers_pattern: selection.layersPattern,
    layers_to_transform: selection.layersToTransform,
    loftq_config: {},
    lora_alpha: options.alpha,
    lora_bias: false,
    lora_dropout: options.dropout,
    lora_ga_config: null,
    megatron_config: null,
    megatron_core: 'megatron.core',
    modules_to_save: options.modulesToSave === null ? null : describeSavedModules(model, options.modulesToSave),
    monteclora_config: null,
    peft_type: peftType,
    peft_version: peftVersion,
    qalora_group_size: 16,
    r: options.rank,
    rank_pattern: describePatterns(targets, options.rankPattern),
    revision: null,
    target_modules: selection.targetModules,
    target_parameters: null,
    task_type: 'CAUSAL_LM',
    trainable_token_indices:
      tokenRows.length === 0
        ? null
        : describeTokenRows(
            tokenRows.map(({ module }) => module),
            tokenRows[0]?.ids ?? [],
          ),
    use_bdlora: null,
    use_dora: options.useDora,
    use_qalora: false,
    use_rslora: options.useRslora,
    velora_config: null,
  });
}
