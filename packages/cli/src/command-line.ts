import { readFileSync } from 'node:fs';
import { batchSchema, isWhetstoneError, WhetstoneError, type TemplateVariables } from '@whetstone/core/contract';
import { uncaughtFileError } from '@whetstone/core/files';
import { isRecord, parseExact } from '@whetstone/core/util';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { addDataCommands } from './data-commands.js';
import { createTerminal, errorAsJson, errorAsText } from './terminal.js';

const version = (JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string })
  .version;

const collect = (value: string, previous: readonly string[]): readonly string[] => [...previous, value];

function number(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('It must be a number.');
  return value;
}

function wholeNumber(text: string): number {
  const value = number(text);
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError('It must be a whole number, not below 0.');
  return value;
}

function positiveNumber(text: string): number {
  const value = wholeNumber(text);
  if (value === 0) throw new InvalidArgumentError('It must be a whole number, at least 1.');
  return value;
}

/** Parses variables of the chat template: a JSON object. */
function templateVariables(text: string): TemplateVariables {
  try {
    const value = parseExact(text);
    if (isRecord(value)) return value as TemplateVariables;
  } catch {
    // The same message as for a value of another type.
  }
  throw new InvalidArgumentError('It must be a JSON object, such as {"enable_thinking": false}.');
}

const templateVariablesOption = (): Option =>
  new Option('--template-variables <json>', 'variables of the chat template, as {"enable_thinking": false}').argParser(
    templateVariables,
  );

/** Options of everything that generates text; names and meaning as in transformers' generation config. */
function withSampling(command: Command): Command {
  return command
    .option('--adapter <folder>', 'PEFT adapter to put on the model')
    .addOption(pluginOption())
    .option('--max-new-tokens <count>', 'longest reply, in tokens', wholeNumber, 256)
    .option('--min-new-tokens <count>', 'shortest reply, in tokens: end tokens are suppressed until then', wholeNumber)
    .option('--temperature <number>', 'sample if above 0; otherwise take the most likely token', number)
    .option('--top-k <count>', 'sample among the k most likely tokens (0: all)', wholeNumber)
    .option('--top-p <number>', 'sample among the most likely tokens whose probabilities add up to this', number)
    .option(
      '--min-p <number>',
      'sample among the tokens that are at least this many times as likely as the likeliest',
      number,
    )
    .option('--typical-p <number>', 'sample among the most typical tokens whose probabilities add up to this', number)
    .option('--forbid-ngram-repeats <count>', 'never repeat a sequence of this many tokens (0: allowed)', wholeNumber)
    .option('--stop <text>', 'end the reply before this text (repeatable)', collect, [])
    .option('--repetition-penalty <number>', 'above 1: tokens that have already occurred become less likely', number)
    .option('--seed <number>', 'seed of the sampling', wholeNumber, 42)
    .option('--chat-template <file>', "Jinja chat template to use instead of the model's")
    .addOption(backendOption());
}

/** For adapters whose type no built-in strategy reads. */
const pluginOption = (): Option =>
  new Option('--plugin <name>', "package or file of the adapter's strategy, if it is not built in (repeatable)")
    .argParser(collect)
    .default([]);

function distance(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0)) throw new InvalidArgumentError('It is a number of 0 or more.');
  return value;
}

const backendOption = (): Option =>
  new Option('--backend <name>', 'auto, whetstone, xla, tensorflow (or tfjs-node-gpu, tfjs-node), wasm, cpu').default(
    'auto',
  );

function addTrainCommand(program: Command): void {
  program
    .command('train <config>')
    .description('train a model as described by a configuration file')
    .option('--set <path=value>', 'override one setting, as optimizer.learningRate=1e-4 (repeatable)', collect, [])
    .option('--resume', 'resume from the newest checkpoint in the output folder')
    .option('--dry-run', 'do everything up to the first step, print what the run would do, and write nothing')
    .option('--processes <count>', 'number of processes on this machine that share each step', wholeNumber)
    .option('--json', 'print one machine-readable object last')
    .action(async (config: string, options: { set: string[] }) =>
      (await import('./commands/train.js')).train(config, options),
    );
}

function addChatCommand(program: Command): void {
  withSampling(program.command('chat <model>').description('talk to a model'))
    .option('--system <text>', 'system message')
    .addOption(templateVariablesOption())
    .action(async (model: string, options) => (await import('./commands/chat.js')).chat(model, options));
}

function addGenerateCommand(program: Command): void {
  withSampling(program.command('generate <model>').description('answer one prompt, or each line of the standard input'))
    .option('--prompt <text>', 'the prompt (repeatable)', collect, [])
    .option('--system <text>', 'system message')
    .addOption(templateVariablesOption())
    .option('--raw', "continue the text without the chat template, after the tokenizer's own start tokens")
    .option('--n <count>', 'replies to each prompt', positiveNumber, 1)
    .option('--batch-size <count>', 'replies that are generated at once', positiveNumber, 32)
    .option('--beams <count>', 'beam search: continuations that are followed at the same time', positiveNumber, 1)
    .option('--length-penalty <number>', 'beam search: above 0, longer replies score higher', number)
    .option(
      '--log-probabilities <count>',
      'with --json: add log-probabilities and this many of the likeliest tokens',
      wholeNumber,
    )
    .option('--json', 'print one machine-readable object last')
    .option('--json-lines', 'print one machine-readable object for each reply, as soon as it is complete')
    .action(async (model: string, options) => (await import('./commands/generate.js')).generateReplies(model, options));
}

function addEvaluateCommand(program: Command): void {
  withSampling(
    program
      .command('evaluate <model>')
      .description('measure a model on conversations: its loss, and metrics of its replies'),
  )
    .option('--data <file>', 'conversations (repeatable)', collect, [])
    .option('--layout <name>', 'layout of the rows; detected for each file by default')
    .option(
      '--metric <metric>',
      'a built-in metric such as chrf (docs/evaluation.md), a package, a file, or JSON with options (repeatable)',
      collect,
      [],
    )
    .option('--metric-timeout <seconds>', 'longest time of a metric for one sample', distance, 600)
    .option('--skip-failed-metrics', 'leave out a metric that fails, with a warning, instead of ending the evaluation')
    .option('--replies <count>', 'maximum number of conversations for which replies are generated', wholeNumber, 100)
    .option(
      '--max-length <tokens>',
      'maximum length of a conversation, in tokens; longer ones are truncated',
      wholeNumber,
      batchSchema.properties.maxLength.default,
    )
    .option('--batch-size <count>', 'conversations per batch', wholeNumber, batchSchema.properties.batchSize.default)
    .option('--samples <file>', 'write each sample with its reply and scores as JSON Lines')
    .option('--resume', 'continue the samples file of an interrupted evaluation: its replies are not generated again')
    .option('--compare <file>', 'compare with another model on the same samples: the file of its --samples')
    .option('--json', 'print one machine-readable object last')
    .action(async (model: string, options) => (await import('./commands/evaluate.js')).evaluateModel(model, options));
}

function addImportCommand(program: Command): void {
  program
    .command('import <gguf> <out>')
    .description('convert a GGUF file into a Hugging Face folder')
    .addOption(
      new Option('--dtype <name>', 'data type of the stored weights; by default the precision of the file').choices([
        'float32',
        'float16',
        'bfloat16',
      ]),
    )
    .option('--json', 'print one machine-readable object last')
    .action(async (gguf: string, out: string, options) =>
      (await import('./commands/import.js')).importModel(gguf, out, options),
    );
}

function addMergeCommand(program: Command): void {
  program
    .command('merge <model> <adapter> <out>')
    .description('merge an adapter into the weights and write the model')
    .addOption(pluginOption())
    .addOption(backendOption())
    .addOption(
      new Option('--dtype <type>', 'data type of the merged weights; by default that of the stored base model').choices(
        ['float32', 'bfloat16', 'float16'],
      ),
    )
    .addOption(
      new Option(
        '--tolerance <difference>',
        'largest allowed difference between the logits before and after merging; nothing is written above it ' +
          '(default: 0.01; 0.1 for float16, 0.5 for bfloat16)',
      ).argParser(distance),
    )
    .addOption(
      new Option(
        '--base <which>',
        'base model of a QLoRA adapter: the dequantised one that it was trained on, or the original',
      )
        .choices(['quantized', 'original'])
        .default('quantized'),
    )
    .option('--json', 'print one machine-readable object last')
    .action(async (model: string, adapter: string, out: string, options) =>
      (await import('./commands/merge.js')).merge(model, adapter, out, options),
    );
}

function addBackendCommands(program: Command): void {
  const backend = program.command('backend').description('inspect and install tensor backends');
  backend
    .command('info')
    .description('show which backend is used on this machine, and why')
    .addOption(backendOption())
    .option('--json', 'print one machine-readable object last')
    .action(async (options) => (await import('./commands/backend.js')).backendInfo(options));
  backend
    .command('install [kind]')
    .description('download a backend into the cache (kind: cpu, cuda12, cuda13, rocm7, xla-cpu)')
    .option('--dry-run', 'list what would be downloaded, without downloading it')
    .option('--json', 'print one machine-readable object last')
    .action(async (kind: string | undefined, options) =>
      (await import('./commands/backend.js')).backendInstall(kind ?? 'cpu', options),
    );
}

function addModelCommands(program: Command): void {
  const model = program.command('model').description('manage the models in the cache');
  model
    .command('fetch <name>')
    .description('download a published model into the cache')
    .option('--json', 'print one machine-readable object last')
    .action(async (name: string, options) => (await import('./commands/model.js')).modelFetch(name, options));
  model
    .command('list')
    .description('list downloaded models, and those that can be downloaded')
    .option('--json', 'print one machine-readable object last')
    .action(async (options) => (await import('./commands/model.js')).modelList(options));
}

function addPluginsCommand(program: Command): void {
  program
    .command('plugins')
    .description('list the built-in plugins')
    .option('--json', 'print one machine-readable object last')
    .action(async (options) => (await import('./commands/plugins.js')).listPlugins(options));
}

function addSchemaCommand(program: Command): void {
  program
    .command('schema')
    .description('print the JSON Schema of configuration files, for editors')
    .option('--out <file>', 'write it to this file')
    .action(async (options) => (await import('./commands/schema.js')).writeSchema(options));
}

function addDoctorCommand(program: Command, outcome: Outcome): void {
  program
    .command('doctor [run]')
    .description('print what a bug report needs, without data and credentials (run: a configuration or run folder)')
    .option('--output <folder>', 'output folder to check; by default that of the configuration')
    .option('--json', 'print one machine-readable object last')
    .action(async (run: string | undefined, options) => {
      outcome.exitCode = await (await import('./commands/doctor.js')).doctor(run, options);
    });
}

/** How a command ended that did not throw. */
interface Outcome {
  exitCode: number;
}

/** All commands. Each is imported when it is used, so that help is quick. */
export function createProgram(outcome: Outcome = { exitCode: 0 }): Command {
  const program = new Command('whetstone')
    .description('Fine-tune language models on conversations.')
    .version(version)
    .showSuggestionAfterError()
    .exitOverride();
  addTrainCommand(program);
  addChatCommand(program);
  addGenerateCommand(program);
  addEvaluateCommand(program);
  addImportCommand(program);
  addMergeCommand(program);
  addBackendCommands(program);
  addModelCommands(program);
  addPluginsCommand(program);
  addSchemaCommand(program);
  addDoctorCommand(program, outcome);
  addDataCommands(program);
  return program;
}

/** Runs one command line. @returns the exit code: 0 done, 1 failed, 2 bad usage or configuration, 130 interrupted */
export async function runCommandLine(parameters: readonly string[]): Promise<number> {
  const outcome: Outcome = { exitCode: 0 };
  const program = createProgram(outcome);
  const json = parameters.includes('--json');
  try {
    await program.parseAsync(parameters, { from: 'user' });
    return outcome.exitCode;
  } catch (cause) {
    if (cause instanceof CommanderError) return usageError(cause, json);
    const { asOutOfMemory } = await import('@whetstone/core/memory');
    const error = isWhetstoneError(cause) ? cause : uncaughtFileError(asOutOfMemory(cause));
    const { tellLauncher } = await import('./launched.js');
    if (await tellLauncher(error)) return isWhetstoneError(error) ? error.exitCode : 1;
    const terminal = createTerminal(json);
    terminal.complain(errorAsText(error, createStderrPaint()));
    terminal.result(errorAsJson(error));
    return isWhetstoneError(error) ? error.exitCode : 1;
  }
}

/** Commander has already written the error or the requested help. */
function usageError(error: CommanderError, json: boolean): number {
  if (error.exitCode === 0) return 0;
  createTerminal(json).result(errorAsJson(new WhetstoneError('USAGE', error.message.replace(/^error: /, ''))));
  return 2;
}

/** Errors go to standard error, which may support colours if standard output does not. */
function createStderrPaint(): ReturnType<typeof createTerminal>['paint'] {
  return createTerminal(true).paint;
}
