import {
  definePlugin,
  type MetricNeeds,
  type MetricOf,
  type MetricSamples,
  type ReplySample,
} from '@whetstone/core/contract';
// The code of a metric is loaded when it is created, so that `import 'whetstone'` is quick.
import { addTo, type Accumulator, type Additive } from './metrics/accumulate.js';
import type { Pair } from './metrics/chrf.js';

type Numbers = Readonly<Record<string, number>>;

const withoutNaN = (numbers: Numbers): Numbers =>
  Object.fromEntries(Object.entries(numbers).filter(([, value]) => !Number.isNaN(value)));

/** Returns a metric whose numbers depend only on sums over the samples. It leaves out numbers that are NaN. */
function ofSums<N extends MetricNeeds>(
  needs: N,
  numbers: readonly string[],
  { statistics, score }: Additive<MetricSamples[N], Numbers>,
): MetricOf<N> {
  const additive = { statistics, numbers: (sums: readonly number[]) => withoutNaN(score(sums)) };
  return {
    needs,
    numbers,
    additive,
    createAccumulator: () => {
      const sums: number[] = [];
      return { add: (sample) => addTo(sums, statistics(sample)), result: () => additive.numbers(sums) };
    },
  };
}

/** Returns a metric that compares replies with their first references. */
const ofPairs = (numbers: readonly string[], { statistics, score }: Additive<Pair, Numbers>): MetricOf<'replies'> =>
  ofSums('replies', numbers, {
    statistics: ({ reply, references: [reference] }) => statistics({ prediction: reply, reference }),
    score,
  });

/** Gives an additive score a name. */
const named = <Item>(name: string, { statistics, score }: Additive<Item>): Additive<Item, Numbers> => ({
  statistics,
  score: (sums) => ({ [name]: score(sums) }),
});

/** Returns a metric of the replies that an accumulator computes, for each name. It leaves out numbers that are NaN. */
const ofReplies = (accumulators: Readonly<Record<string, () => Accumulator<string>>>): MetricOf<'replies'> => ({
  needs: 'replies',
  numbers: Object.keys(accumulators),
  createAccumulator: () => {
    const all = Object.entries(accumulators).map(([name, create]) => [name, create()] as const);
    return {
      add: ({ reply }) => {
        for (const [, { add }] of all) add(reply);
      },
      result: () => withoutNaN(Object.fromEntries(all.map(([name, { result }]) => [name, result()]))),
    };
  },
});

/** Lets an additive score of texts receive the replies. */
const ofReply = ({ statistics, score }: Additive<string>): Additive<ReplySample> => ({
  statistics: ({ reply }) => statistics(reply),
  score,
});

const orders = (defaults: readonly number[]) =>
  ({
    type: 'array',
    items: { type: 'integer', minimum: 1 },
    minItems: 1,
    default: defaults,
    description: 'Lengths of the n-grams.',
  }) as const;

const exactMatch = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'exact-match',
  description: 'The share of replies that equal the reference, except for white space.',
  configSchema: {
    type: 'object',
    properties: {
      ignoreCase: { type: 'boolean', default: false, description: 'Ignore upper and lower case.' },
      ignorePunctuation: { type: 'boolean', default: false, description: 'Ignore punctuation.' },
    },
    additionalProperties: false,
  } as const,
  create: async (options) => {
    const { additiveExactMatch } = await import('./metrics/exact-match.js');
    return ofPairs(['exactMatch'], named('exactMatch', additiveExactMatch(options)));
  },
});

const distinct = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'distinct-n',
  description: 'The share of distinct n-grams in all replies. Low if the replies are similar.',
  configSchema: { type: 'object', properties: { orders: orders([1, 2, 3]) }, additionalProperties: false } as const,
  create: async ({ orders: chosenOrders = [1, 2, 3] }) => {
    const { createDistinct } = await import('./metrics/diversity.js');
    return ofReplies(
      Object.fromEntries(chosenOrders.map((order) => [`distinct${order}`, () => createDistinct(order)])),
    );
  },
});

const repetition = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'repetition',
  description: 'The share of repeated n-grams within a reply. Close to 1 if the model loops.',
  configSchema: {
    type: 'object',
    properties: { order: { type: 'integer', minimum: 1, default: 4, description: 'Length of the n-grams.' } },
    additionalProperties: false,
  } as const,
  create: async ({ order = 4 }) => {
    const { additiveRepetition } = await import('./metrics/diversity.js');
    return ofSums('replies', [`repetition${order}`], named(`repetition${order}`, ofReply(additiveRepetition(order))));
  },
});

const chrf = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'chrf',
  description: 'chrF: the F-score of character n-grams against the reference, 0 to 100, for any language.',
  configSchema: {
    type: 'object',
    properties: {
      wordOrder: {
        type: 'integer',
        minimum: 0,
        maximum: 4,
        default: 0,
        description: 'Maximum length of word n-grams, which are counted, too; 2 for chrF++.',
      },
    },
    additionalProperties: false,
  } as const,
  create: async (options) => {
    const { additiveChrf } = await import('./metrics/chrf.js');
    return ofPairs(['chrf'], named('chrf', additiveChrf(options)));
  },
});

const bleuTokenize = {
  enum: ['13a', 'zh', 'char', 'none'],
  default: '13a',
  description: 'The tokenizer of sacrebleu: zh for Chinese, char for other languages without spaces.',
} as const;

const bleu = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'bleu',
  description: 'BLEU of all replies together, 0 to 100, equal to that of sacrebleu.',
  configSchema: {
    type: 'object',
    properties: {
      tokenize: bleuTokenize,
    },
    additionalProperties: false,
  } as const,
  create: async (options) => {
    const { additiveBleu } = await import('./metrics/bleu.js');
    return ofPairs(['bleu'], named('bleu', additiveBleu(options)));
  },
});

const rouge = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'rouge',
  description:
    'ROUGE-1, -2, -L and -Lsum: the mean F-score of the replies, 0 to 1, equal to that of rouge-score without ' +
    'a stemmer.',
  configSchema: {
    type: 'object',
    properties: {
      tokenize: {
        enum: ['words', 'characters'],
        default: 'words',
        description: 'characters for Chinese and other languages without spaces, in which words finds no tokens.',
      },
    },
    additionalProperties: false,
  } as const,
  create: async ({ tokenize = 'words' }) => {
    const { additiveRouge, ROUGE_KINDS } = await import('./metrics/rouge.js');
    return ofPairs(ROUGE_KINDS, additiveRouge(tokenize));
  },
});

const answerAccuracy = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'answer-accuracy',
  description:
    'The share of replies that give the answer of the reference: the same choice letter, number with unit, or text, ' +
    'after normalisation for English and Chinese.',
  configSchema: {
    type: 'object',
    properties: {
      kind: {
        enum: ['auto', 'choice', 'number', 'text'],
        default: 'auto',
        description: 'What the answers are. auto: what each reference is.',
      },
      tolerance: {
        type: 'number',
        minimum: 0,
        default: 1e-6,
        description: 'Relative difference up to which numbers are equal.',
      },
    },
    additionalProperties: false,
  } as const,
  create: async (options) => {
    const { additiveAnswers } = await import('./metrics/answer.js');
    return ofPairs(['answerAccuracy'], named('answerAccuracy', additiveAnswers(options)));
  },
});

const tokenF1 = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'token-f1',
  description: 'The mean F1 score of the words that reply and reference have in common, 0 to 1.',
  configSchema: { type: 'object', properties: {}, additionalProperties: false } as const,
  create: async () => {
    const { additiveTokenF1 } = await import('./metrics/token-f1.js');
    return ofPairs(['tokenF1'], named('tokenF1', additiveTokenF1));
  },
});

const labelsOption = {
  type: 'array',
  items: { type: 'string', minLength: 1 },
  minItems: 2,
  maxItems: 200,
  uniqueItems: true,
  description: 'All classes. A reply without exactly one of them counts as wrong.',
} as const;

const classification = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'classification',
  description:
    'Accuracy, precision, recall and F1 (macro, micro, weighted and of each class) of replies that name a class.',
  configSchema: {
    type: 'object',
    properties: {
      labels: labelsOption,
      perClass: { type: 'boolean', default: true, description: 'Report the scores of each class.' },
      confusion: {
        type: 'boolean',
        default: false,
        description: 'Report the counts of the confusion matrix, as confusion/reference/reply.',
      },
    },
    required: ['labels'],
    additionalProperties: false,
  } as const,
  create: async ({ labels, perClass = true, confusion = false }) => {
    const { additiveClassification, classificationNumbers, flatClassification } =
      await import('./metrics/classification.js');
    const { statistics, score } = additiveClassification(labels);
    return ofPairs(classificationNumbers(labels, { perClass, confusion }), {
      statistics,
      score: (sums) => flatClassification(score(sums), labels, { perClass, confusion }),
    });
  },
});

const ter = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'ter',
  description:
    'The translation edit rate: edits per 100 words of the references, equal to that of sacrebleu. 0 is best.',
  configSchema: {
    type: 'object',
    properties: {
      caseSensitive: { type: 'boolean', default: false, description: 'Distinguish upper and lower case.' },
      tokenize: {
        enum: ['words', 'characters'],
        default: 'words',
        description: 'characters for Chinese and other languages without spaces.',
      },
    },
    additionalProperties: false,
  } as const,
  create: async (options) => {
    const { additiveTer } = await import('./metrics/ter.js');
    return ofPairs(['ter'], named('ter', additiveTer(options)));
  },
});

const selfBleu = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'self-bleu',
  description: 'The mean BLEU of each reply with the other replies as references, 0 to 100. High if they are similar.',
  configSchema: {
    type: 'object',
    properties: {
      tokenize: bleuTokenize,
      most: {
        type: 'integer',
        minimum: 2,
        maximum: 2000,
        default: 200,
        description: 'Number of replies that are compared with each other.',
      },
    },
    additionalProperties: false,
  } as const,
  create: async (options) => {
    const { createSelfBleu } = await import('./metrics/self-bleu.js');
    return ofReplies({ selfBleu: () => createSelfBleu(options) });
  },
});

const length = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'length',
  description:
    'The mean length of replies in words, their length relative to the references, and short and empty ones.',
  configSchema: {
    type: 'object',
    properties: {
      short: {
        type: 'number',
        exclusiveMinimum: 0,
        default: 0.5,
        description: 'A reply is short if it has fewer words than this times its reference.',
      },
    },
    additionalProperties: false,
  } as const,
  create: async ({ short = 0.5 }) => {
    const { additiveLength, LENGTH_NUMBERS } = await import('./metrics/length.js');
    return ofPairs(LENGTH_NUMBERS, additiveLength(short));
  },
});

const regularExpression = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'regex',
  description: 'The share of replies that match a regular expression.',
  configSchema: {
    type: 'object',
    properties: {
      pattern: { type: 'string', minLength: 1, description: 'Regular expression of JavaScript.' },
      flags: { type: 'string', pattern: '^[imsuv]*$', default: '', description: 'Its flags, as i.' },
      seconds: {
        type: 'number',
        exclusiveMinimum: 0,
        maximum: 60,
        default: 1,
        description: 'Longest search in one reply. A reply for which it takes longer does not match.',
      },
    },
    required: ['pattern'],
    additionalProperties: false,
  } as const,
  create: async ({ pattern, flags = '', seconds = 1 }) => {
    const { matchesOf } = await import('./metrics/task-success.js');
    return ofSums('replies', ['regexMatch', 'regexStopped'], matchesOf(pattern, flags, seconds));
  },
});

const jsonSchema = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'json-schema',
  description: 'The share of replies that are JSON, and of those that also match a JSON schema.',
  configSchema: {
    type: 'object',
    properties: {
      schema: { type: 'object', description: 'JSON schema, draft 2020-12.' },
    },
    required: ['schema'],
    additionalProperties: false,
  } as const,
  create: async ({ schema }) => {
    const { schemaMatches } = await import('./metrics/task-success.js');
    return ofSums('replies', ['validJson', 'schemaMatch'], schemaMatches(schema));
  },
});

const checker = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'checker',
  description: 'Task success: the share of replies for which a program of yours ends with the exit code 0.',
  configSchema: {
    type: 'object',
    properties: {
      command: {
        type: 'array',
        items: { type: 'string' },
        minItems: 1,
        description: 'The program and its parameters, started without a shell in the folder of the configuration.',
      },
      input: {
        enum: ['reply', 'sample'],
        default: 'reply',
        description: 'Its standard input: the reply, or a JSON object with prompt, reference, reply and columns.',
      },
      timeoutSeconds: { type: 'number', exclusiveMinimum: 0, default: 10, description: 'Longest time for a reply.' },
      maxOutputBytes: {
        type: 'integer',
        minimum: 0,
        default: 1_048_576,
        description: 'Most bytes that it may write.',
      },
      maxMemoryMiB: {
        type: 'integer',
        minimum: 16,
        default: 4096,
        description: 'Most address space of its process; not limited on Windows.',
      },
    },
    required: ['command'],
    additionalProperties: false,
  } as const,
  create: async (options, { baseFolder }) =>
    (await import('./metrics/task-success.js')).createChecker(options, baseFolder),
});

const tokenLikelihood = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'token-likelihood',
  description: 'Bits per byte, token accuracy and calibration of the references. Nothing is generated.',
  configSchema: {
    type: 'object',
    properties: {
      bins: { type: 'integer', minimum: 2, maximum: 100, default: 10, description: 'Bins of the calibration error.' },
      reliability: {
        type: 'boolean',
        default: false,
        description: 'Report tokens, confidence and accuracy of each bin, as reliability/0.90/accuracy.',
      },
    },
    additionalProperties: false,
  } as const,
  create: async ({ bins = 10, reliability = false }) => {
    const { additiveLikelihood, likelihoodNumbers } = await import('./metrics/likelihood.js');
    return ofSums('logProbabilities', likelihoodNumbers(bins, reliability), additiveLikelihood(bins, reliability));
  },
});

const multipleChoice = definePlugin({
  apiVersion: 2,
  kind: 'metric',
  name: 'multiple-choice',
  description:
    'The accuracy of choosing the most likely of the choices in the column "choices": acc, and acc_norm and ' +
    'acc_bytes by length, as lm-evaluation-harness defines them. Nothing is generated.',
  configSchema: { type: 'object', properties: {}, additionalProperties: false } as const,
  create: async () => {
    const { additiveChoices, CHOICE_NUMBERS } = await import('./metrics/likelihood.js');
    return ofSums('choices', CHOICE_NUMBERS, additiveChoices);
  },
});

/** All metrics of this package. */
export const metrics = [
  exactMatch,
  answerAccuracy,
  classification,
  tokenF1,
  chrf,
  bleu,
  ter,
  rouge,
  length,
  distinct,
  selfBleu,
  repetition,
  tokenLikelihood,
  multipleChoice,
  regularExpression,
  jsonSchema,
  checker,
] as const;
