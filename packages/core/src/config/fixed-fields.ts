import type { Json } from '../contract/index.js';

/** A field of TRL, transformers or PEFT that has no counterpart. */
export interface FixedField {
  /** The values that mean what Whetstone does in any case; `any` if the field changes no number. */
  readonly values: readonly Json[] | 'any';
  /** Why other values are refused. */
  readonly refusal: string;
  /** What to write instead; by default, the field is to be removed. */
  readonly line?: string;
  /** `strategy` for the fields of PEFT, which can be among the options of a strategy. */
  readonly of?: 'strategy';
}

const fields = (names: string, field: FixedField): readonly (readonly [string, FixedField])[] =>
  names.split(/\s+/).map((name) => [name, field] as const);

const neutral: FixedField = { values: 'any', refusal: '' };
const only = (refusal: string, ...values: readonly Json[]): FixedField => ({ values, refusal });
const instead = (refusal: string, line: string, ...values: readonly Json[]): FixedField => ({ values, refusal, line });

const separate = 'Whetstone does not publish models: the folder of the result can be uploaded as it is.';
const sharded = 'Whetstone does not shard a model; several processes are described in docs/several-processes.md.';
const float32 = 'Evaluations compute as training does.';

/** How the work is done, logged or stored: nothing of it changes a number of the result. */
const unchanged = fields(
  `gradient_checkpointing gradient_checkpointing_kwargs activation_checkpointing activation_checkpointing_kwargs
  activation_offloading torch_compile torch_compile_backend torch_compile_mode use_liger_kernel liger_kernel_config
  use_cache torch_empty_cache_steps tf32 log_on_each_node logging_nan_inf_filter logging_first_step logging_dir
  include_num_input_tokens_seen log_level log_level_replica disable_tqdm run_name project trackio_space_id
  trackio_bucket_id trackio_static_space_id prediction_loss_only eval_do_concat_batches eval_use_gather_object
  eval_accumulation_steps batch_eval_metrics save_only_model save_safetensors save_on_each_node enable_jit_checkpoint
  restore_callback_states_from_checkpoint full_determinism use_cpu no_cuda dataloader_num_workers
  dataloader_pin_memory dataloader_persistent_workers dataloader_prefetch_factor dataloader_multiprocessing_context
  dataloader_in_order remove_unused_columns label_names length_column_name ddp_find_unused_parameters
  ddp_broadcast_buffers ddp_static_graph ddp_backend skip_memory_metrics debug do_train do_eval local_rank
  trust_remote_code pad_token attn_implementation hub_private_repo hub_strategy hub_always_push hub_revision hub_token
  dataset_streaming ignore_bias_buffers`,
  neutral,
);

/** Fields of PEFT that describe an adapter folder, or variants of LoRA that Whetstone lacks. */
const ofStrategy = [
  ...fields(
    `auto_mapping base_model_name_or_path inference_mode peft_version megatron_core runtime_config qalora_group_size
    fan_in_fan_out`,
    neutral,
  ),
  ...fields('task_type lora_task_type', only('Only causal language models are trained.', null, 'CAUSAL_LM')),
  ...fields('peft_type', instead('The strategy decides the type.', 'Write "strategy": "lora".', null, 'LORA')),
  ...fields('revision', only('A model is read from its folder.', null, 'main')),
  ...fields(
    `megatron_config loftq_config eva_config corda_config lora_ga_config velora_config alora_invocation_tokens
    monteclora_config layer_replication use_bdlora arrow_config kasa_config target_parameters lora_target_parameters`,
    only('Whetstone has no such variant of LoRA.', null, {}),
  ),
  ...fields('use_qalora lora_bias ensure_weight_tying', only('Whetstone has no such variant of LoRA.', false)),
  ...fields('bnb_4bit_quant_storage', only('Quantised weights are stored as bytes.', null, 'uint8')),
].map(([name, field]) => [name, { ...field, of: 'strategy' }] as const);

/** The fields without a counterpart, by name. A value that they cannot have is refused, with the line to change. */
export const fixedFields: { readonly [name: string]: FixedField | undefined } = Object.fromEntries([
  ...unchanged,
  ...ofStrategy,
  ...fields('average_tokens_across_devices', only('The loss is always a mean over all tokens of a step.', true)),
  ...fields('push_to_hub', only(separate, false)),
  ...fields('hub_model_id', only(separate, null)),
  ...fields('label_smoothing_factor', only('Whetstone has no label smoothing.', 0)),
  ...fields('neftune_noise_alpha', only('Whetstone adds no noise to embeddings.', null, 0)),
  ...fields('router_aux_loss_coef', only('Whetstone has no loss of routers.', null, 0)),
  ...fields('loss_type', only('Whetstone has the negative log-likelihood only.', 'nll')),
  ...fields('bf16_full_eval fp16_full_eval', only(float32, false)),
  ...fields(
    'auto_find_batch_size',
    instead(
      'Whetstone does not search a batch size.',
      'To bound memory, write "data": { "tokensPerBatch": 4096 }.',
      false,
    ),
  ),
  ...fields('eval_delay', only('Evaluations start with the run.', 0, null)),
  ...fields('eval_packing', only('Evaluation data is not packed, which changes no loss.', null, false, true)),
  ...fields('include_for_metrics', instead('Metrics are plugins.', 'Write "evaluation": { "metrics": ["chrf"] }.', [])),
  ...fields('ignore_data_skip', only('A resumed run continues at the same batch.', false)),
  ...fields('accelerator_config parallelism_config deepspeed', only(sharded, null)),
  ...fields('fsdp', only(sharded, null, '', [], false)),
  ...fields('fsdp_config', only(sharded, null, {})),
  ...fields('dataloader_drop_last', only('Every batch of an epoch is used.', false)),
  ...fields(
    'do_predict',
    instead('A run does not predict.', 'Remove "do_predict", and generate replies afterwards.', false),
  ),
  ...fields(
    'optim_args',
    instead('Options of the optimizer have names.', 'Write "optimizer": { "weightDecay": 0.1 }.', null, ''),
  ),
  ...fields('optim_target_modules', only('The optimizer updates everything that is trained.', null)),
  ...fields('dataset_kwargs', only('Data is always rendered and tokenized.', null, {})),
  ...fields(
    'eos_token',
    instead('The tokenizer and the chat template decide it.', 'Write "chatTemplatePath": "template.jinja".', null),
  ),
  ...fields(
    'model_revision',
    instead('A model is read from its folder.', 'Write "model": "the folder".', null, 'main'),
  ),
  ...fields('dataset_config', instead('Data is read from files.', 'Write "data": { "train": "train.jsonl" }.', null)),
  ...fields(
    'dataset_train_split',
    instead('Data is read from files.', 'Write "data": { "train": "train.jsonl" }.', null, 'train'),
  ),
  ...fields(
    'dataset_test_split',
    instead('Data is read from files.', 'Write "data": { "eval": "test.jsonl" }.', null, 'test'),
  ),
]);
