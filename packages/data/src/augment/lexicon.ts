import { basesOf } from './inflection.js';

/** Synonyms of words. */
export interface Lexicon {
  /** Returns words that can replace a word, in its inflection; none if it should stay. The word is in lower case. */
  synonymsOf(word: string): readonly string[];
  /** Returns the forms of a word that name the same thing: `parcels` and `parcel`. */
  formsOf(word: string): readonly string[];
  /** Returns whether several words have a meaning of their own: `real estate`. */
  isExpression(words: readonly string[]): boolean;
  /** Returns whether a word, capitalized, is a name: `Java`. */
  isName(word: string): boolean;
  /** The language of the words; null for a dictionary, whose language is that of its words. */
  readonly language: 'English' | null;
}

/** Words and their synonyms. Keys are in lower case. */
export type SynonymDictionary = ReadonlyMap<string, readonly string[]>;

/** Returns the lexicon of a dictionary. It has inflected words as entries of their own. */
export const dictionaryLexicon = (dictionary: SynonymDictionary): Lexicon => ({
  synonymsOf: (word) => dictionary.get(word) ?? [],
  formsOf: (word) => (/^[a-z]+$/.test(word) ? basesOf(word) : [word]),
  isExpression: () => false,
  isName: () => false,
  language: null,
});

/**
 * Words that are never replaced, as they carry the grammar of a sentence: articles, pronouns, prepositions,
 * conjunctions, auxiliary verbs, negations, numbers, question words, interjections, and adverbs that act on the whole
 * sentence.
 */
const FUNCTION_WORDS = new Set(
  (
    'a an the this that these those i me my mine myself you your yours yourself he him his she her hers it its ' +
    'we us our ours they them their theirs who whom whose which what when where why how whoever whatever ' +
    'whenever wherever one ones someone somebody something anyone anybody anything everyone everybody ' +
    'everything somewhere anywhere everywhere each every either both all any some many much more most few ' +
    'fewer less least several enough other others another such same own of at by for with about against ' +
    'between into through during before after above below to from up down in out on off over under again ' +
    'further then once here there and but or nor so yet if because as until while although though unless since ' +
    'than whether whereas am is are was were be been being have has had having do does did doing done can ' +
    'could will would shall should may might must ought need needs dare let lets get gets got getting go goes ' +
    'going gone went come comes make makes made like likes want wants not no non none never nothing nobody ' +
    'nowhere neither without cannot hardly scarcely barely seldom rarely except zero two three four five six ' +
    'seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty ' +
    'thirty forty fifty sixty seventy eighty ninety hundred thousand million billion trillion first second ' +
    'third fourth fifth half double twice dozen yes yeah ok okay please thanks thank hello hi hey bye goodbye ' +
    'sorry oh ah well very too quite rather just only even also still already always often sometimes ever ' +
    'maybe perhaps however therefore thus hence else instead otherwise anyway indeed really actually simply ' +
    'merely mostly almost nearly about around now today tomorrow yesterday soon later ago thing things way ' +
    'kind sort lot bit etc vs'
  ).split(' '),
);

/** Characters of Chinese and Japanese words that are never replaced: negations and numbers. */
const NEGATIONS_AND_NUMBERS = /[不没無无未别勿莫非零一二三四五六七八九十百千万亿两几半]/u;

/** Chinese words of grammar. */
const CHINESE_FUNCTION_WORDS = new Set(
  (
    '的 了 着 过 地 得 是 在 有 和 与 或 但 而 就 都 也 还 又 很 太 更 最 我 你 您 他 她 它 这 那 哪 谁 吗 呢 吧 啊 把 被 ' +
    '对 从 到 为 能 会 要 想 请 我们 你们 他们 她们 它们 什么 怎么 因为 所以 如果 虽然 但是 可以 应该 可能 必须'
  ).split(' '),
);

/** Returns whether a word must stay, whatever its synonyms are. */
export const isFunctionWord = (word: string): boolean =>
  FUNCTION_WORDS.has(word) || /['’]/.test(word) || NEGATIONS_AND_NUMBERS.test(word) || CHINESE_FUNCTION_WORDS.has(word);
