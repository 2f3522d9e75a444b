import { formatError, isWhetstoneError } from '@whetstone/core/contract';
import { Command, Option } from 'commander';

const program = new Command('bench').description('Measure Whetstone, and a peer on the same work in the same run.');
const whole = (text: string): number => Number.parseInt(text, 10);
const peer = (): Option =>
  new Option('--peer-python <path>', 'a Python with torch, transformers, peft and trl: measures them too');
const json = (): Option => new Option('--json', 'print one machine-readable object last');
const backend = (): Option => new Option('--backend <name>', 'what to compute on').default('auto');
const engine = (): Option =>
  new Option('--engine <name>', 'engine of the backend whetstone').choices(['tensorflow', 'xla']);
const threads = (): Option =>
  new Option('--threads <count>', "threads, ours and the peer's").argParser(whole).default(2);

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
  .option('--peak <TFLOP/s>', 'tell which share of this was reached', Number)
  .option('--batch <rows>', 'rows', whole, 4)
  .option('--length <tokens>', 'tokens a row', whole, 256)
  .option('--steps <count>', 'steps to measure, after one that is left out', whole, 4)
  .addOption(threads())
  .addOption(backend())
  .addOption(engine())
  .addOption(peer())
  .addOption(new Option('--peer-device <name>', 'what the peer computes on').choices(['cpu', 'cuda']).default('cpu'))
  .option('--peer-compile', 'the peer compiles its model first (torch.compile): minutes, and a C++ compiler')
  .addOption(json())
  .action(async (options) => (await import('./step.js')).benchStep(options));

program
  .command('second-process')
  .description(
    'two processes one after the other over one folder of compiled modules, empty at first: loading, and the ' +
      'first step of LoRA, everything compiled or found',
  )
  .option('--model <folder>', 'Hugging Face folder or the name of a fetched model', 'smollm2-135m')
  .addOption(engine().default('tensorflow'))
  .option('--batch <rows>', 'rows', whole, 4)
  .option('--length <tokens>', 'tokens a row', whole, 256)
  .addOption(threads())
  .addOption(new Option('--one <folder>', 'measure this process over such a folder').hideHelp())
  .addOption(json())
  .action(async (options) => (await import('./second-process.js')).benchSecondProcess(options));

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
  .option('--rounds <count>', 'rounds of up to 20 products to measure of each, after five that are left out', whole, 12)
  .option('--no-wasm', 'leave tfjs-backend-wasm out')
  .addOption(threads())
  .addOption(json())
  .action(async (options) => {
    const { benchMatmul, readShape } = await import('./matmul.js');
    await benchMatmul({ ...options, shapes: options.shapes.split(',').map(readShape) });
  });

program
  .command('processes')
  .description(
    'two processes with a thread each beside one process with two threads, on the same step: time, and the ' +
      'share of the all-reduce',
  )
  .addOption(new Option('--mode <mode>', 'what is trained').choices(['lora', 'full']).default('lora'))
  .option('--batch <rows>', 'rows of the whole step', whole, 4)
  .option('--length <tokens>', 'tokens a row', whole, 256)
  .option('--steps <count>', 'steps to measure, after one that is left out', whole, 4)
  .option('--layers <count>', 'layers of the model', whole, 30)
  .option('--processes <count>', 'processes; the one beside them has as many threads', whole, 2)
  .option('--bucket <mebibytes>', 'gradients that are summed at a time', Number, 25)
  .addOption(json())
  .action(async (options) => (await import('./processes.js')).benchProcesses(options));

program
  .command('sft')
  .description('fine-tune a real model with LoRA on conversations, evaluation before and after')
  .option('--model <folder>', 'Hugging Face folder or the name of a fetched model', 'smollm2-135m')
  .option('--train <file>', 'training conversations', 'examples/data/chatterbot-en.train.jsonl')
  .option('--eval <file>', 'evaluation conversations', 'examples/data/chatterbot-en.eval.jsonl')
  .option('--steps <count>', 'optimizer steps', whole, 30)
  .option('--batch <rows>', 'conversations a step', whole, 8)
  .option('--max-length <tokens>', 'tokens', whole, 256)
  .option('--lora-rank <rank>', 'rank of the adapter; alpha is twice that', whole, 16)
  .option('--lr <rate>', 'learning rate', Number, 2e-4)
  .option('--group-by-length', 'batches of conversations of one length')
  .option('--out <folder>', 'keep the run here')
  .addOption(threads())
  .addOption(backend())
  .addOption(peer())
  .addOption(json())
  .action(async (options) => (await import('./sft.js')).benchSft(options));

program
  .command('data')
  .description('read, clean, deduplicate, render, tokenise, mark and pack conversations; tokenising alone')
  .option(
    '--model <folder>',
    'Hugging Face folder or the name of a fetched model, for its tokenizer and template',
    'smollm2-135m',
  )
  .option(
    '--train <file>',
    'real conversations that the measured ones are made of',
    'examples/data/chatterbot-en.train.jsonl',
  )
  .option('--conversations <count>', 'how many', whole, 100_000)
  .option('--max-length <tokens>', 'tokens of a packed row', whole, 1024)
  .option('--workers <count>', 'worker threads; 0 for none; without it, as many as there are cores', whole)
  .addOption(peer())
  .addOption(
    new Option(
      '--peer-work <amount>',
      'less: the peer tidies, drops equal conversations and tokenises; same: also quality, redaction (needs ' +
        'phonenumbers), near duplicates and marks',
    )
      .choices(['less', 'same'])
      .default('less'),
  )
  .addOption(json())
  .action(async (options) => (await import('./data.js')).benchData(options));

program
  .command('strategies')
  .description(
    'every strategy on the same model, data and steps, each in a process of its own: trained parameters, ' +
      'memory, tokens/s, evaluation loss, what is saved',
  )
  .option('--model <folder>', 'Hugging Face folder or the name of a fetched model', 'smollm2-135m')
  .option('--train <file>', 'training conversations', 'examples/data/chatterbot-en.train.jsonl')
  .option('--eval <file>', 'evaluation conversations', 'examples/data/chatterbot-en.eval.jsonl')
  .option('--eval-samples <count>', 'how many of them', whole, 64)
  .option('--steps <count>', 'optimizer steps', whole, 12)
  .option('--batch <rows>', 'conversations a step', whole, 4)
  .option('--max-length <tokens>', 'tokens', whole, 128)
  .option('--only <names>', 'some of them, between semicolons')
  .addOption(peer())
  .addOption(new Option('--one <name>', 'measure one in this process').hideHelp())
  .addOption(threads())
  .addOption(backend())
  .addOption(json())
  .action(async (options) => (await import('./strategies.js')).benchStrategies(options));

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`${isWhetstoneError(error) ? formatError(error) : ((error as Error).stack ?? String(error))}\n`);
  process.exitCode = 1;
}
