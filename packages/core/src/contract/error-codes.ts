interface ErrorKind {
  /** Process exit code of the command. */
  readonly exitCode: 1 | 2 | 130;
  /** One sentence that says what happened. `docs/errors.md` repeats and explains it; a test compares the two. */
  readonly summary: string;
}

const failed = (summary: string): ErrorKind => ({ exitCode: 1, summary });
const usage = (summary: string): ErrorKind => ({ exitCode: 2, summary });

/** Every error code with the exit code of the command and a one-sentence summary. */
export const errorCodes = {
  // usage and configuration
  USAGE: usage('The command line is invalid.'),
  CONFIG_INVALID: usage('The configuration does not match its schema; every problem is listed with its JSON path.'),
  CONFIG_UNREADABLE: usage('The configuration file cannot be read or parsed.'),
  CONFIG_UNUSED_KEY: usage('A configuration key is valid, but nothing reads it.'),
  CONFIG_CONFLICT: usage('Two options of the configuration exclude each other.'),
  PLUGIN_NOT_FOUND: usage('No plugin of that name and kind was found.'),
  PLUGIN_INVALID: usage('A module does not export a valid plugin.'),
  PLUGIN_CONFLICT: usage('Two plugins of one kind share a name.'),
  // plugins at run time
  HOOK_FAILED: failed('A hook of a callback threw an error; `cause` holds it.'),
  PLUGIN_FAILED: failed('A plugin threw an error outside a hook; `cause` holds it.'),
  SERVICE_NOT_REGISTERED: failed('A service was requested that is not registered.'),
  SERVICE_CIRCULAR: failed('Services need each other in a circle, so that none can be created.'),
  SERVICE_ASYNCHRONOUS: failed('A service was requested synchronously whose factory returns a promise.'),
  // files
  FILE_NOT_FOUND: failed('A file or folder does not exist.'),
  FILE_UNREADABLE: failed('A file exists but cannot be read.'),
  FILE_UNWRITABLE: failed('A file or folder cannot be written.'),
  FILE_CHANGED: failed('A file of a model or adapter is not as Whetstone wrote it.'),
  TOO_MANY_FILES: failed('The process or the system cannot open more files.'),
  DISK_FULL: failed('There is not enough space on the disk.'),
  OUTPUT_EXISTS: usage('The output folder is not empty and may not be overwritten.'),
  OUTPUT_LOCKED: failed('Another run writes to the output folder.'),
  VERSION_UNSUPPORTED: failed('A file was written by a version of Whetstone that this one cannot read.'),
  // models
  MODEL_NOT_FOUND: failed('The model folder does not exist or does not contain a model.'),
  MODEL_CONFIG_INVALID: failed("A model's config.json lacks a field or contradicts itself."),
  MODEL_ARCHITECTURE_UNKNOWN: failed("The model's architecture is not supported."),
  MODEL_QUANTIZED: failed('The weights of a model folder are quantised.'),
  MODEL_TENSOR_MISSING: failed("A tensor that the architecture requires is not in the model's files."),
  MODEL_TENSOR_SHAPE: failed('The shape of a tensor differs from the one that the architecture requires.'),
  MODEL_TENSOR_UNKNOWN: failed("A model's files contain a tensor that its architecture does not have."),
  SAFETENSORS_INVALID: failed('A safetensors file is truncated or its header is invalid.'),
  GGUF_INVALID: failed('A GGUF file is truncated or its header is invalid.'),
  GGUF_UNSUPPORTED: failed('A tensor type, architecture or tokenizer cannot be imported from GGUF, or exported to it.'),
  TOKENIZER_INVALID: failed('A tokenizer file is missing or invalid.'),
  TEMPLATE_FAILED: failed('A chat template could not be parsed or failed to render.'),
  TEMPLATE_LIMIT: failed('A chat template exceeded a bound of time or memory.'),
  CONTEXT_EXCEEDED: failed("The prompt does not fit the model's context."),
  ADAPTER_INVALID: failed('An adapter folder is incomplete or does not fit the model.'),
  MERGE_DIFFERS: failed('A merged model would compute different results from the model with its adapter.'),
  // data
  DATA_UNREADABLE: failed('A row of a data file cannot be read.'),
  DATA_EMPTY: failed('A data source contains no usable conversation.'),
  DATA_NOTHING_TO_LEARN: failed('A batch has no supervised token.'),
  DATA_SUPERVISION: failed(
    "A turn's end is not supervised, or training renders a conversation differently from serving.",
  ),
  DATA_LEAKAGE: failed('The training data contains evaluation data.'),
  DATA_QUALITY: failed('The data does not pass its quality gate.'),
  SAMPLES_DIFFER: usage('A samples file does not belong to the samples or the model that are measured.'),
  // training
  NON_FINITE: failed('The loss or a gradient is not a finite number.'),
  ROLLBACK_LIMIT: failed('Callbacks requested more rollbacks than training.maxRollbacks allows.'),
  STRATEGY_TARGETS_NOTHING: usage("A strategy's target matches no module of the model."),
  CHECKPOINT_INVALID: failed('A checkpoint is incomplete, corrupt or from a different run.'),
  WORKER_LOST: failed('Another worker has exited, does not respond, or is too slow.'),
  WORKER_FAILED: failed('Another worker failed, or the workers execute different steps.'),
  CLUSTER_TOKEN_MISMATCH: usage('The secret of a process differs from that of the other processes of the run.'),
  INTERRUPTED: { exitCode: 130, summary: 'The run was interrupted; a checkpoint was written first.' },
  // backends
  BACKEND_UNAVAILABLE: failed('No tensor backend is available, or the requested one is not.'),
  BACKEND_FAILED: failed('An operation of the tensor backend failed.'),
  DOWNLOAD_FAILED: failed('A download failed, or its checksum is wrong.'),
  OUT_OF_MEMORY: failed('A device or the host is out of memory.'),
  INTERNAL: failed('An internal error of Whetstone.'),
} as const satisfies Record<string, ErrorKind>;

/** The code of a `WhetstoneError`, as a string literal type. */
export type ErrorCode = keyof typeof errorCodes;
