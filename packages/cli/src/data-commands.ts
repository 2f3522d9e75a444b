import { LAYOUT_NAMES, TRUNCATION_MODES } from '@whetstone/data/choices';
import { Option, type Command } from 'commander';

const layout = (): Option =>
  new Option('--layout <name>', 'how the rows are written; by default each file is looked at').choices([
    'auto',
    ...LAYOUT_NAMES,
  ]);

const truncation = (): Option =>
  new Option('--truncation-mode <mode>', 'how a longer conversation is shortened').choices([...TRUNCATION_MODES]);

const wholeNumber = (text: string): number => Number.parseInt(text, 10);

const workers = (): Option =>
  new Option('--workers <count>', 'threads for large data; without it, as many as there are cores').argParser(
    wholeNumber,
  );

/** `whetstone data …`: what can be done with data before anything is trained on it. */
export function addDataCommands(program: Command): void {
  const data = program.command('data').description('look at data, clean it, compare it');
  const command = (nameAndArguments: string, description: string): Command =>
    data
      .command(nameAndArguments)
      .description(description)
      .addOption(layout())
      .option('--json', 'print one machine-readable object last');

  command(
    'report <files...>',
    'write a page about a data set: lengths, languages, topics, duplicates, suspects, scores',
  )
    .option('--model <model>', 'folder or name of a model, for lengths in tokens and what is learned')
    .option('--chat-template <file>', "Jinja chat template to use instead of the model's")
    .option('--max-length <tokens>', 'length that training would cut at', wholeNumber)
    .addOption(truncation())
    .option(
      '--losses <count>',
      'conversations whose loss under the model is measured, drawn at random; 0 for none',
      wholeNumber,
    )
    .option('--backend <name>', 'what to measure losses on')
    .addOption(workers())
    .option('--gate <file>', 'rules that the data must keep to, as JSON: {"maxDuplicates": 0.05, …}')
    .option('--out <file>', 'where the page is written', 'data-report.html')
    .action(async (files: string[], options) => (await import('./commands/data.js')).dataReport(files, options));

  command('inspect <files...>', 'show the first conversations as the model sees them, and what of them is learned')
    .requiredOption('--model <model>', 'folder or name of a model')
    .option('--chat-template <file>', "Jinja chat template to use instead of the model's")
    .option('--max-length <tokens>', 'length that training would cut at', wholeNumber)
    .addOption(truncation())
    .addOption(workers())
    .option('--count <number>', 'how many', wholeNumber, 3)
    .action(async (files: string[], options) => (await import('./commands/data.js')).dataInspect(files, options));

  command('clean <files...>', 'write the conversations that stay, cleaned, as JSON Lines')
    .requiredOption('--out <file>', 'where they are written')
    .option('--with <cleaners>', 'what is done, in this order', (text) => text.split(','), [
      'normalize-text',
      'quality-filter',
      'redact',
      'deduplicate',
    ])
    .addOption(workers())
    .option('--removals <file>', 'where every removal is written with its reason')
    .action(async (files: string[], options) => (await import('./commands/data.js')).dataClean(files, options));

  command(
    'augment <files...>',
    'write the conversations and further ones made of them, as JSON Lines; for training data alone',
  )
    .requiredOption('--out <file>', 'where they are written')
    .option(
      '--with <transform>',
      'augment-synonyms, augment-turns, augment-paraphrase, or as JSON with options, as {"use": …, "options": ' +
        '{…}} (repeatable)',
      (text: string, all: string[] | undefined) => [...(all ?? []), text],
    )
    .option('--seed <number>', 'seed of what is drawn', wholeNumber, 42)
    .action(async (files: string[], options) =>
      (await import('./commands/data-augment.js')).dataAugment(files, {
        ...options,
        with: options.with ?? ['augment-synonyms', 'augment-turns'],
      }),
    );

  command(
    'diff <before> <after>',
    'tell what changed from one version of a data set to another, or from the data of one run (its folder) to ' +
      'that of another',
  ).action(async (before: string, after: string, options) =>
    (await import('./commands/data-diff.js')).dataDiff(before, after, options),
  );

  command('leaks <train> <eval>', 'fail where evaluation data is also in the training data').action(
    async (train: string, evaluation: string, options) =>
      (await import('./commands/data.js')).dataLeaks(train, evaluation, options),
  );
}
