interface ErrorKind {
  /** Process exit code of the command. */
  readonly exitCode: 1 | 2 | 130;
  /** One sentence: what has happened. `docs/errors.md` holds the long form; a test ties the two. */
  readonly summary: string;
}

const failed = (summary: string): ErrorKind => ({ exitCode: 1, summary });
const usage = (summary: string): ErrorKind => ({ exitCode: 2, summary });

/** Every code that a `WhetstoneError` can carry. */
export const errorCodes = {
  // usage and configuration
  USAGE: usage('The command line is not understood.'),
  CONFIG_INVALID: usage('The configuration does not fit its schema; every problem is listed with its JSON path.'),
  CONFIG_UNREADABLE: usage('The configuration file cannot be read or parsed.'),
  CONFIG_UNUSED_KEY: usage('A configuration key passed validation, but nothing ever read it.'),
  CONFIG_CONFLICT: usage('Two parts of the configuration exclude each other.'),
  PLUGIN_NOT_FOUND: usage('No plugin of that name and kind exists.'),
  PLUGIN_INVALID: usage('A module does not export a valid plugin.'),
  PLUGIN_CONFLICT: usage('Two plugins of one kind share a name.'),
  // plugins at run time
  HOOK_FAILED: failed('A hook of a callback threw; its cause is kept.'),
  PLUGIN_FAILED: failed('A plugin threw while it was created or attached; its cause is kept.'),
  SERVICE_NOT_REGISTERED: failed('A service was asked for that nobody registered.'),
  // files
  FILE_NOT_FOUND: failed('A file or folder does not exist.'),
  FILE_UNREADABLE: failed('A file exists but cannot be read.'),
  DISK_FULL: failed('There is not enough space on the disk.'),
  OUTPUT_EXISTS: usage('The output folder already holds something else.'),
  VERSION_UNSUPPORTED: failed('A file was written by a version of Whetstone that this one cannot read.'),
  // models
  MODEL_NOT_FOUND: failed('The model folder does not exist or holds no model.'),
  MODEL_CONFIG_INVALID: failed("A model's config.json is missing something or contradicts itself."),
  MODEL_ARCHITECTURE_UNKNOWN: failed("The model's architecture is not supported."),
  MODEL_TENSOR_MISSING: failed("A tensor that the architecture needs is not in the model's files."),
  MODEL_TENSOR_SHAPE: failed('A tensor has another shape than the architecture needs.'),
  MODEL_TENSOR_UNKNOWN: failed("A model's files hold a tensor that its architecture does not have."),
  SAFETENSORS_INVALID: failed('A safetensors file is truncated or its header is not true.'),
  GGUF_INVALID: failed('A GGUF file is truncated or its header is not true.'),
  GGUF_UNSUPPORTED: failed('A GGUF file uses a tensor type, architecture or tokenizer that cannot be imported.'),
  TOKENIZER_INVALID: failed('A tokenizer file is missing or cannot be used.'),
  TEMPLATE_FAILED: failed('A chat template could not be parsed or threw while rendering.'),
  CONTEXT_EXCEEDED: failed("The prompt does not fit the model's context."),
  ADAPTER_INVALID: failed('An adapter folder is incomplete or does not fit the model.'),
  MERGE_DIFFERS: failed('A merged model would compute something else than model and adapter.'),
  // data
  DATA_UNREADABLE: failed('A row of a data file cannot be read.'),
  DATA_EMPTY: failed('A data source holds no usable conversation.'),
  DATA_NOTHING_TO_LEARN: failed('A batch has no supervised token.'),
  DATA_SUPERVISION: failed(
    "What is learned is not what was meant: a turn's end is not learned, or training and serving render differently.",
  ),
  DATA_LEAKAGE: failed('Evaluation data is also in the training data.'),
  DATA_QUALITY: failed('The data does not pass its quality gate.'),
  // training
  NON_FINITE: failed('The loss or a gradient is not a finite number.'),
  STRATEGY_TARGETS_NOTHING: usage("A strategy's target matches nothing in the model."),
  CHECKPOINT_INVALID: failed('A checkpoint is incomplete, corrupt or of another run.'),
  WORKER_LOST: failed('Another process of a run by several is gone, does not answer, or is too slow.'),
  WORKER_FAILED: failed('Another process of a run by several failed, or does not do what the others do.'),
  INTERRUPTED: { exitCode: 130, summary: 'The run was interrupted; a checkpoint was written first.' },
  // backends
  BACKEND_UNAVAILABLE: failed('No tensor backend, or not the one asked for, can be used.'),
  BACKEND_FAILED: failed('The tensor backend failed at an operation.'),
  DOWNLOAD_FAILED: failed('Something could not be downloaded, or its checksum is wrong.'),
  OUT_OF_MEMORY: failed('A device or the host has not enough memory.'),
  INTERNAL: failed('A mistake in Whetstone itself.'),
} as const satisfies Record<string, ErrorKind>;

/** The code of a `WhetstoneError`. */
export type ErrorCode = keyof typeof errorCodes;
