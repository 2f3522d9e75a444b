import type {
  ChoiceSample,
  Json,
  LikelihoodSample,
  MetricNeeds,
  MetricSample,
  MetricSamples,
  ReplySample,
} from '@whetstone/core/contract';

/** The texts of a sample. */
export interface TestSample {
  readonly prompt: string;
  readonly reference: string;
  readonly reply: string;
  readonly columns?: Readonly<Record<string, Json>>;
}

/** Questions and answers, with replies that are equal, similar, different, looping, empty and Chinese. */
export const defaultSamples: readonly TestSample[] = [
  { prompt: 'Is it late?', reference: 'No, it is early.', reply: 'No, it is early.', columns: { topic: 'time' } },
  { prompt: 'Where is the station?', reference: 'Over there, by the bridge.', reply: 'The station is over there.' },
  { prompt: 'What do bees eat?', reference: 'Honey and pollen.', reply: 'I do not know.' },
  { prompt: 'Count.', reference: 'One, two, three, four.', reply: 'one one one one one one one one' },
  { prompt: 'Say nothing.', reference: 'All right.', reply: '', columns: { topic: 'silence' } },
  { prompt: '你好吗？', reference: '我很好，谢谢。', reply: '我很好。' },
];

/** Returns the sample with these texts that a metric with the given needs receives. */
export function metricSampleOf<N extends MetricNeeds>(needs: N, texts: TestSample, index = 0): MetricSamples[N] {
  const { prompt, reference, reply, columns } = texts;
  const messages = [
    { role: 'user', content: prompt },
    { role: 'assistant', content: reference },
  ];
  const sample: MetricSample = {
    conversation: { messages, form: 'chat', origin: { file: 'samples.jsonl', line: index + 1, index }, columns },
    prompt: messages.slice(0, 1),
    references: [reference],
    columns: columns ?? {},
  };
  const all: { readonly [Need in MetricNeeds]: () => MetricSamples[Need] } = {
    none: () => sample,
    replies: (): ReplySample => ({ ...sample, reply }),
    logProbabilities: (): LikelihoodSample => ({ ...sample, likelihoods: [likelihoodOf(reference)] }),
    choices: (): ChoiceSample => ({
      ...sample,
      choices: [reply, reference, prompt].map((text) => ({ text, likelihood: likelihoodOf(text) })),
      answer: 1,
    }),
  };
  return all[needs]();
}

/** One token for each UTF-16 unit of a text, with probabilities between a half and one. */
function likelihoodOf(text: string): LikelihoodSample['likelihoods'][number] {
  const tokens = Int32Array.from(text, (character) => character.charCodeAt(0));
  const logProbabilities = Float32Array.from(tokens, (token) => Math.log(1 - (token % 8) / 16));
  // Every token is the most likely one, because its probability is above a half.
  return { tokens, logProbabilities, mostLikely: tokens.slice(), highestLogProbabilities: logProbabilities.slice() };
}
