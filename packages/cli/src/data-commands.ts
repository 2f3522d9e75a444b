import { LAYOUT_NAMES, TRUNCATION_MODES } from '@whetstone/data/choices';
import { Option, type Command } from 'commander';

const layout = (): Option =>
  new Option('--layout <name>', 'layout of the rows; detected for each file by default').choices([
    'auto',
    ...LAYOUT_NAMES,
  ]);

const truncation = (): Option =>
  new Option('--truncation-mode <mode>', 'how longer conversations are truncated').choices([...TRUNCATION_MODES]);

const stage = (): Option => new Option('--stage <name>', 'only this stage of a configuration; by default all stages');

const unreadableRows = (): Option =>
  new Option('--unreadable-rows <policy>', 'error, skip, or the largest share of rows to skip, such as 0.01');

const wholeNumber = (text: string): number => Number.parseInt(text, 10);

const workers = (): Option =>
  new Option('--workers <count>', 'threads for large data; by default as many as there are cores').argParser(
    wholeNumber,
  );

/** Adds a command to `whetstone data`. */
type AddCommand = (nameAndArguments: string, description: string) => Command;

function addDataReport(command: AddCommand): void {
  command(
    'report <files...>',
    'write a page about a data set: lengths, languages, topics, duplicates, suspicious rows, scores',
  )
    .addOption(stage())
    .option('--model <model>', 'folder or name of a model, for lengths in tokens and supervised tokens')
    .option('--chat-template <file>', "Jinja chat template to use instead of the model's")
    .option('--max-length <tokens>', 'maximum length in training, in tokens', wholeNumber)
    .addOption(truncation())
    .option(
      '--losses <count>',
      'number of random conversations whose loss is measured with the model; 0 for none',
      wholeNumber,
    )
    .option('--backend <name>', 'backend that measures the losses')
    .addOption(workers())
    .option('--gate <file>', 'JSON file of limits that the data must meet: {"maxDuplicates": 0.05, …}')
    .option('--out <file>', 'output file', 'data-report.html')
    .action(async (files: string[], options) => (await import('./commands/data.js')).dataReport(files, options));
}

function addDataInspect(command: AddCommand): void {
  command('inspect <files...>', 'show the first conversations as the model sees them, with supervised tokens marked')
    .addOption(stage())
    .option('--model <model>', 'folder or name of a model; by default that of a configuration')
    .option('--chat-template <file>', "Jinja chat template to use instead of the model's")
    .option('--max-length <tokens>', 'maximum length in training, in tokens', wholeNumber)
    .addOption(truncation())
    .addOption(workers())
    .option('--count <number>', 'how many', wholeNumber, 3)
    .action(async (files: string[], options) => (await import('./commands/data.js')).dataInspect(files, options));
}

function addDataClean(command: AddCommand): void {
  command('clean <files...>', 'remove unusable conversations and write the rest as JSON Lines')
    .requiredOption('--out <file>', 'output file')
    .option(
      '--with <cleaners>',
      'transforms, in this order: names, or as JSON with options, as {"use": …, "options": {…}} (repeatable). By ' +
        'default those of a configuration, or normalize-text,quality-filter,redact,deduplicate',
      (text: string, all: string[] | undefined) => [
        ...(all ?? []),
        ...(text.trimStart().startsWith('{') ? [text] : text.split(',')),
      ],
    )
    .addOption(unreadableRows())
    .addOption(stage())
    .addOption(workers())
    .option('--removals <file>', 'file for every removed conversation and its reason')
    .action(async (files: string[], options) => (await import('./commands/data.js')).dataClean(files, options));
}

function addDataAugment(command: AddCommand): void {
  command('augment <files...>', 'write the conversations and augmented copies as JSON Lines; for training data only')
    .requiredOption('--out <file>', 'output file')
    .option(
      '--with <transform>',
      'augment-synonyms, augment-turns, augment-paraphrase, or as JSON with options, as {"use": …, "options": ' +
        '{…}} (repeatable)',
      (text: string, all: string[] | undefined) => [...(all ?? []), text],
    )
    .addOption(unreadableRows())
    .addOption(stage())
    .option('--seed <number>', 'random seed', wholeNumber, 42)
    .action(async (files: string[], options) =>
      (await import('./commands/data-augment.js')).dataAugment(files, {
        ...options,
        with: options.with ?? ['augment-synonyms', 'augment-turns'],
      }),
    );
}

function addDataDiff(command: AddCommand): void {
  command(
    'diff <before> <after>',
    'list the changes between two versions of a data set, or between the data of two runs (their folders)',
  ).action(async (before: string, after: string, options) =>
    (await import('./commands/data-diff.js')).dataDiff(before, after, options),
  );
}

function addDataLeaks(command: AddCommand): void {
  command(
    'leaks <train> [eval]',
    'fail if the training data contains evaluation data; the data of a configuration if it is the only argument',
  )
    .addOption(stage())
    .action(async (train: string, evaluation: string | undefined, options) =>
      (await import('./commands/data.js')).dataLeaks(train, evaluation, options),
    );
}

/** `whetstone data …`: commands for data sets. */
export function addDataCommands(program: Command): void {
  const data = program.command('data').description('inspect, clean and compare data sets');
  const command: AddCommand = (nameAndArguments, description) =>
    data
      .command(nameAndArguments)
      .description(description)
      .addOption(layout())
      .option('--json', 'print one machine-readable object last');

  addDataReport(command);
  addDataInspect(command);
  addDataClean(command);
  addDataAugment(command);
  addDataDiff(command);
  addDataLeaks(command);
}
