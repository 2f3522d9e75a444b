import { readFileSync } from 'node:fs';
import { isWhetstoneError, WhetstoneError } from '@whetstone/core/contract';
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

/** Options of everything that generates text; names and meaning as in transformers' generation config. */
function withSampling(command: Command): Command {
  return command
    .option('--adapter <folder>', 'PEFT adapter to put on the model')
    .option('--max-new-tokens <count>', 'longest reply, in tokens', wholeNumber, 256)
    .option('--min-new-tokens <count>', 'shortest reply, in tokens: the model may not end it before', wholeNumber)
    .option('--temperature <number>', 'above 0: sample instead of taking the likeliest token', number)
    .option('--top-k <count>', 'sample among the k likeliest tokens (0: all)', wholeNumber)
    .option('--top-p <number>', 'sample among the likeliest tokens that together have this probability', number)
    .option('--repetition-penalty <number>', 'above 1: tokens that are already there get less likely', number)
    .option('--seed <number>', 'seed of the sampling', wholeNumber, 42)
    .option('--chat-template <file>', "Jinja chat template to use instead of the model's")
    .addOption(backendOption());
}

function distance(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0)) throw new InvalidArgumentError('It is a number of 0 or more.');
  return value;
}

const backendOption = (): Option =>
  new Option('--backend <name>', 'what to compute on: auto, whetstone, xla, tensorflow (tfjs-node), wasm, cpu').default(
    'auto',
  );

/** All commands. Each is imported when it is asked for, so that help is quick. */
export function createProgram(): Command {
  const program = new Command('whetstone')
    .description('Fine-tune language models on conversations.')
    .version(version)
    .showSuggestionAfterError()
    .exitOverride();
  const command = (nameAndArguments: string, description: string): Command =>
    program.command(nameAndArguments).description(description);

  command('train <config>', 'train as a configuration file says')
    .option('--set <path=value>', 'override one setting, as optimizer.learningRate=1e-4 (repeatable)', collect, [])
    .option('--resume', 'go on from the newest checkpoint of the output folder')
    .option('--processes <count>', 'train in so many processes on this machine, which share each step', wholeNumber)
    .option('--json', 'print one machine-readable object last')
    .action(async (config: string, options: { set: string[] }) =>
      (await import('./commands/train.js')).train(config, options),
    );

  withSampling(command('chat <model>', 'talk to a model'))
    .option('--system <text>', 'system message')
    .action(async (model: string, options) => (await import('./commands/chat.js')).chat(model, options));

  withSampling(command('generate <model>', 'answer one prompt, or each line of the standard input'))
    .option('--prompt <text>', 'the prompt (repeatable)', collect, [])
    .option('--system <text>', 'system message')
    .option(
      '--raw',
      'continue the text as it is, without the chat template: it begins as the tokenizer begins a text of its own',
    )
    .option('--json', 'print one machine-readable object last')
    .action(async (model: string, options) => (await import('./commands/generate.js')).generateReplies(model, options));

  withSampling(
    command('evaluate <model>', 'measure a model on conversations: its loss, and metrics over its own answers'),
  )
    .option('--data <file>', 'conversations (repeatable)', collect, [])
    .option('--layout <name>', 'how the rows are written; by default each file is looked at')
    .option(
      '--metric <metric>',
      'exact-match, distinct-n, repetition, chrf, bleu, rouge, a package, a file, or JSON with options (repeatable)',
      collect,
      [],
    )
    .option('--replies <count>', 'most conversations that are answered for the metrics', wholeNumber, 100)
    .option('--max-length <tokens>', 'length that conversations are cut at', wholeNumber, 1024)
    .option('--batch-size <count>', 'conversations at a time', wholeNumber, 8)
    .option('--json', 'print one machine-readable object last')
    .action(async (model: string, options) => (await import('./commands/evaluate.js')).evaluateModel(model, options));

  command('import <gguf> <out>', 'make a Hugging Face folder from a GGUF file')
    .addOption(
      new Option('--dtype <name>', 'how weights are stored; by default as precisely as the file holds them').choices([
        'float32',
        'float16',
        'bfloat16',
      ]),
    )
    .option('--json', 'print one machine-readable object last')
    .action(async (gguf: string, out: string, options) =>
      (await import('./commands/import.js')).importModel(gguf, out, options),
    );

  command('merge <model> <adapter> <out>', 'put an adapter into the weights and write the model')
    .addOption(backendOption())
    .addOption(
      new Option('--dtype <type>', 'what the merged weights are written as')
        .choices(['float32', 'bfloat16', 'float16'])
        .default('float32'),
    )
    .addOption(
      new Option(
        '--tolerance <difference>',
        'largest difference of a logit between model with adapter and merged model; above it nothing is written',
      )
        .argParser(distance)
        .default(0.01),
    )
    .addOption(
      new Option(
        '--base <which>',
        'the base that a QLoRA adapter goes onto: the dequantised one that it was trained on, or the original',
      )
        .choices(['quantized', 'original'])
        .default('quantized'),
    )
    .option('--json', 'print one machine-readable object last')
    .action(async (model: string, adapter: string, out: string, options) =>
      (await import('./commands/merge.js')).merge(model, adapter, out, options),
    );

  const backend = command('backend', 'what to compute on');
  backend
    .command('info')
    .description('say what would be used here, and why')
    .addOption(backendOption())
    .option('--json', 'print one machine-readable object last')
    .action(async (options) => (await import('./commands/backend.js')).backendInfo(options));
  backend
    .command('install [kind]')
    .description('fetch what to compute with into the cache (kind: cpu, cuda12, cuda13, rocm7, xla-cpu)')
    .option('--dry-run', 'say what would be fetched, and fetch nothing')
    .option('--json', 'print one machine-readable object last')
    .action(async (kind: string | undefined, options) =>
      (await import('./commands/backend.js')).backendInstall(kind ?? 'cpu', options),
    );

  const model = command('model', 'models in the cache');
  model
    .command('fetch <name>')
    .description('fetch a published model into the cache')
    .option('--json', 'print one machine-readable object last')
    .action(async (name: string, options) => (await import('./commands/model.js')).modelFetch(name, options));
  model
    .command('list')
    .description('list the models that are fetched, and those that can be')
    .option('--json', 'print one machine-readable object last')
    .action(async (options) => (await import('./commands/model.js')).modelList(options));

  command('plugins', 'list the plugins that configurations can name')
    .option('--json', 'print one machine-readable object last')
    .action(async (options) => (await import('./commands/plugins.js')).listPlugins(options));

  command('schema', 'print the JSON Schema of configuration files, for editors')
    .option('--out <file>', 'write it to a file instead')
    .action(async (options) => (await import('./commands/schema.js')).writeSchema(options));
  addDataCommands(program);
  return program;
}

/** Runs one command line. @returns the exit code: 0 done, 1 failed, 2 bad usage or configuration, 130 interrupted */
export async function runCommandLine(parameters: readonly string[]): Promise<number> {
  const program = createProgram();
  const json = parameters.includes('--json');
  try {
    await program.parseAsync(parameters, { from: 'user' });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return usageError(error, json);
    const { tellLauncher } = await import('./launched.js');
    if (await tellLauncher(error)) return isWhetstoneError(error) ? error.exitCode : 1;
    const terminal = createTerminal(json);
    terminal.complain(errorAsText(error, createStderrPaint()));
    terminal.result(errorAsJson(error));
    return isWhetstoneError(error) ? error.exitCode : 1;
  }
}

/** Commander has already written what is wrong, or the help that was asked for. */
function usageError(error: CommanderError, json: boolean): number {
  if (error.exitCode === 0) return 0;
  createTerminal(json).result(errorAsJson(new WhetstoneError('USAGE', error.message.replace(/^error: /, ''))));
  return 2;
}

/** Errors go to standard error, whose colours are its own affair. */
function createStderrPaint(): ReturnType<typeof createTerminal>['paint'] {
  return createTerminal(true).paint;
}
