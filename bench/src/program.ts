import { Command, InvalidArgumentError, Option } from 'commander';
import { CORPORA } from './corpora.js';
import { ORDERS } from './conversation-order.js';

/** A whole number of at least 1. */
export function positive(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('It must be a whole number, at least 1.');
  return value;
}

function wholeNumber(text: string): number {
  return text === '0' ? 0 : positive(text);
}

/** `1,8,32`. */
export const counts = (text: string): number[] => text.split(',').map(positive);

/** Values between commas, each one of `known`. */
const oneOf =
  (known: readonly string[]) =>
  (text: string): string[] => {
    const values = text.split(',').map((value) => value.trim());
    const unknown = values.filter((value) => !known.includes(value));
    if (unknown.length > 0) throw new InvalidArgumentError(`Known are ${known.join(', ')}.`);
    return values;
  };

const peer = (packages = 'torch, transformers, peft and trl'): Option =>
  new Option('--peer-python <path>', `a Python with ${packages}: the peers are measured too`);
const json = (): Option => new Option('--json', 'print one machine-readable object last');
const backend = (): Option => new Option('--backend <name>', 'what to compute on').default('auto');
const engine = (): Option =>
  new Option('--engine <name>', 'engine of the backend whetstone').choices(['tensorflow', 'xla']);
const threads = (): Option =>
  new Option('--threads <count>', "threads, ours and the peer's").argParser(positive).default(2);
const runs = (): Option =>
  new Option('--runs <count>', 'runs, each in a process of its own; their median is reported, with least and greatest')
    .argParser(positive)
    .default(5);
const one = (): Option => new Option('--one', 'measure one run in this process').hideHelp();
const model = (): Option =>
  new Option('--model <folder>', 'Hugging Face folder or the name of a fetched model').default('smollm2-135m');
const train = (): Option =>
  new Option('--train <file>', 'training conversations').default('examples/data/chatterbot-en.train.jsonl');
const evaluation = (): Option =>
  new Option('--eval <file>', 'evaluation conversations').default('examples/data/chatterbot-en.eval.jsonl');

function addStepCommand(program: Command): void {
  program
    .command('step')
    .description(
      "one optimizer step on a model of SmolLM2-135M's shape, or another: random weights and tokens, every token " +
        'supervised',
    )
    .addOption(new Option('--mode <mode>', 'what is trained').choices(['lora', 'full']).default('lora'))
    .addOption(
      new Option('--precision <type>', "how matrices are multiplied, ours and (torch.autocast) the peer's")
        .choices(['float32', 'bfloat16'])
        .default('float32'),
    )
    .addOption(
      new Option('--shape <name>', 'of SmolLM2-135M, Llama-3.2-1B or Llama-3.1-8B')
        .choices(['smol', '1b', '8b'])
        .default('smol'),
    )
    .addOption(
      new Option('--weights <type>', "how the frozen weights of LoRA are kept, and the peer's")
        .choices(['float32', 'bfloat16'])
        .default('float32'),
    )
    .option('--peak <TFLOP/s>', 'report the share of this that was reached', Number)
    .option('--batch <rows>', 'rows', positive, 4)
    .option('--length <tokens>', 'tokens in a row', positive, 256)
    .option('--steps <count>', 'steps of a run to measure, after one that is left out', positive, 4)
    .addOption(runs())
    .addOption(threads())
    .addOption(backend())
    .addOption(engine())
    .addOption(peer('torch, transformers and peft'))
    .addOption(new Option('--peer-device <name>', 'what the peer computes on').choices(['cpu', 'cuda']).default('cpu'))
    .option(
      '--peer-compile',
      'also measure the peer with torch.compile, its best setting: minutes in the first run, and a C++ compiler',
    )
    .addOption(one())
    .addOption(json())
    .action(async (options) => (await import('./step.js')).benchStep(options));
}

function addSecondProcessCommand(program: Command): void {
  program
    .command('second-process')
    .description(
      'two processes one after the other over one folder of compiled modules, empty at first: loading, and the ' +
        'first step of LoRA, everything compiled or found',
    )
    .addOption(model())
    .addOption(engine().default('tensorflow'))
    .option('--batch <rows>', 'rows', positive, 4)
    .option('--length <tokens>', 'tokens in a row', positive, 256)
    .addOption(runs())
    .addOption(threads())
    .addOption(new Option('--one <folder>', 'measure this process over such a folder').hideHelp())
    .addOption(json())
    .action(async (options) => (await import('./second-process.js')).benchSecondProcess(options));
}

function addMatmulCommand(program: Command): void {
  program
    .command('matmul')
    .description(
      'matrix products through tfjs-core, by TensorFlow itself and on tfjs-backend-wasm; a small LoRA step on ' +
        'both backends',
    )
    .option(
      '--shapes <list>',
      'products to measure, each rows x inner x columns',
      '1024x576x1536,1024x1024x1024,2048x2048x2048,256x256x256,64x64x64',
    )
    .option(
      '--rounds <count>',
      'rounds of up to 20 products to measure of each, after five that are left out; their median is reported',
      positive,
      12,
    )
    .option('--no-wasm', 'leave tfjs-backend-wasm out')
    .addOption(threads())
    .addOption(json())
    .action(async (options) => {
      const { benchMatmul, readShape } = await import('./matmul.js');
      await benchMatmul({ ...options, shapes: options.shapes.split(',').map(readShape) });
    });
}

function addProcessesCommand(program: Command): void {
  program
    .command('processes')
    .description(
      'two processes with a thread each compared with one process with two threads, on the same step: time, and the ' +
        'share of the all-reduce',
    )
    .addOption(new Option('--mode <mode>', 'what is trained').choices(['lora', 'full']).default('lora'))
    .option('--batch <rows>', 'rows of the whole step', positive, 4)
    .option('--length <tokens>', 'tokens in a row', positive, 256)
    .option('--steps <count>', 'steps of a run to measure, after one that is left out', positive, 4)
    .option('--layers <count>', 'layers of the model', positive, 30)
    .option('--processes <count>', 'processes; the one that they are compared with has as many threads', positive, 2)
    .option('--bucket <mebibytes>', 'gradients that are summed at a time', Number, 25)
    .addOption(runs())
    .addOption(json())
    .action(async (options) => (await import('./processes.js')).benchProcesses(options));
}

function addSftCommand(program: Command): void {
  program
    .command('sft')
    .description(
      'fine-tune a real model with LoRA on conversations, evaluation before and after; both sides take the same ' +
        'conversations in the same order',
    )
    .addOption(model())
    .addOption(train())
    .addOption(evaluation())
    .option('--steps <count>', 'optimizer steps', positive, 30)
    .option('--batch <rows>', 'conversations in a step', positive, 8)
    .option('--max-length <tokens>', 'tokens', positive, 256)
    .option('--lora-rank <rank>', 'rank of the adapter; alpha is twice that', positive, 16)
    .option('--lr <rate>', 'learning rate', Number, 2e-4)
    .addOption(
      new Option('--orders <list>', `${ORDERS.join(', ')}: conversations of different or of similar length in a batch`)
        .argParser(oneOf(ORDERS))
        .default([...ORDERS]),
    )
    .option('--out <folder>', 'keep the last run of each order here')
    .addOption(runs())
    .addOption(threads())
    .addOption(backend())
    .addOption(peer())
    .addOption(one())
    .addOption(json())
    .action(async (options) => (await import('./sft.js')).benchSft(options));
}

function addGenerateCommand(program: Command): void {
  program
    .command('generate')
    .description(
      'tokens per second of greedy decoding, by the command and by the library; every reply has the same number of ' +
        'tokens on every side',
    )
    .addOption(model())
    .option('--gguf <file>', 'quantised GGUF file of the model for llama.cpp; by default what it was fetched as')
    .option('--data <file>', 'conversations whose first questions are asked', 'examples/data/chatterbot-en.eval.jsonl')
    .addOption(
      new Option('--prompts <list>', 'prompts that are decoded at a time').argParser(counts).default([1, 8, 32]),
    )
    .addOption(
      new Option('--command-prompts <list>', 'prompts for the command, which answers one after the other')
        .argParser(counts)
        .default([1, 8]),
    )
    .option('--tokens <count>', 'new tokens for each prompt', positive, 96)
    .option(
      '--only <names>',
      'some of: command, library, library bfloat16, transformers, transformers bfloat16, llama.cpp F16, llama.cpp Q4_1',
      (text: string) => text.split(',').map((name) => name.trim()),
    )
    .addOption(runs())
    .addOption(threads())
    .addOption(backend())
    .addOption(peer('torch, transformers, xllamacpp and gguf'))
    .addOption(one())
    .addOption(new Option('--work <file>', 'prompts of a run').hideHelp())
    .addOption(new Option('--precision <type>', 'numbers of a run').choices(['float32', 'bfloat16']).hideHelp())
    .addOption(json())
    .action(async (options) => (await import('./generate.js')).benchGenerate(options));
}

function addDataCommand(program: Command): void {
  program
    .command('data')
    .description('read, clean, deduplicate, render, tokenise, mark and pack conversations; tokenising alone')
    .addOption(model())
    .addOption(
      new Option(
        '--corpus <name>',
        'dialogues: real ones, repeated with generated questions; prose: the definitions of WordNet, no text twice',
      )
        .choices([...CORPORA])
        .default('dialogues'),
    )
    .addOption(train())
    .option('--conversations <count>', 'how many', positive, 25_000)
    .option('--max-length <tokens>', 'tokens of a packed row', positive, 1024)
    .option('--workers <count>', 'worker threads; 0 for none; without it, as many as there are cores', wholeNumber)
    .addOption(runs())
    .addOption(peer('datasets, transformers, trl, numpy and phonenumbers'))
    .addOption(
      new Option(
        '--peer-work <amount>',
        'same: the peer does all that we do; less: it tidies, drops exact duplicates and tokenises; both: two peers',
      )
        .choices(['less', 'same', 'both'])
        .default('same'),
    )
    .addOption(one())
    .addOption(new Option('--data <file>', 'conversations of a run').hideHelp())
    .addOption(new Option('--texts <file>', 'texts of a run').hideHelp())
    .addOption(json())
    .action(async (options) => (await import('./data.js')).benchData(options));
}

function addStrategiesCommand(program: Command): void {
  program
    .command('strategies')
    .description(
      'every strategy on the same model, data and steps, each in a process of its own: trained parameters, ' +
        'memory, tokens/s, evaluation loss, what is saved',
    )
    .addOption(model())
    .addOption(train())
    .addOption(evaluation())
    .option('--eval-samples <count>', 'how many of them', positive, 64)
    .option('--steps <count>', 'optimizer steps', positive, 12)
    .option('--batch <rows>', 'conversations in a step', positive, 4)
    .option('--max-length <tokens>', 'tokens', positive, 128)
    .option('--only <names>', 'some of them, between semicolons')
    .addOption(runs())
    .addOption(peer('torch, transformers, peft, trl and bitsandbytes'))
    .addOption(new Option('--one <name>', 'measure one in this process').hideHelp())
    .addOption(threads())
    .addOption(backend())
    .addOption(json())
    .action(async (options) => (await import('./strategies.js')).benchStrategies(options));
}

/** All commands of the bench. Each is imported when it is asked for. */
export function createProgram(): Command {
  const program = new Command('bench').description('Measure Whetstone, and peers on the same work in the same run.');
  addStepCommand(program);
  addSecondProcessCommand(program);
  addMatmulCommand(program);
  addProcessesCommand(program);
  addSftCommand(program);
  addGenerateCommand(program);
  addDataCommand(program);
  addStrategiesCommand(program);
  return program;
}
