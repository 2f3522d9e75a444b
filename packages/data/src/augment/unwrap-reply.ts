/** The text that a model was asked for, or why its reply is refused. */
export type Unwrapped =
  | { readonly text: string }
  | { readonly refusal: 'empty' | 'refusal' | 'several texts' | 'wrapped' };

/** Words at the start of a reply to a request: "Sure!", "当然，". */
const OPENERS: readonly RegExp[] = [
  /^(?:sure(?: thing)?|certainly|of course|absolutely|definitely|okay|ok|alright|all right)\b\s*[!,.:~–—-]+\s*/i,
  /^(?:got it|understood|no problem|gladly|happy to help|with pleasure|yes|great)\b\s*[!,.:~–—-]+\s*/i,
  /^(?:当然(?:可以)?|好的?(?:呀|啊|吧)?|没问题|可以的?|明白了?|收到|是的|嗯)\s*[!！,，.。:：~～—–-]+\s*/u,
];

/** What a model says about the text that it was asked for, up to a colon. */
const SUBJECTS: readonly RegExp[] = [
  /paraphras|rephras|reword|rewrit|rewrot|restat|version|translat|other words|alternative|variation|equivalent/i,
  /(?:another|different) way|(?:here|below)(?:['’]s| is| are|:)|as follows/i,
  /übersetz|umformulier|traduc|traduzion/i,
  /改写|改述|转述|重述|复述|重写|换句话|换个说法|换种说法|另一种|翻译|译文|表述|表达|释义|同义|以下|如下|下面/u,
];

/** How an introduction with a colon begins. */
const FRAMES: readonly RegExp[] = [
  /^["“*_]*(?:here|below|this|that|the|an?|one|another|possible|in other words|alternative|variation)/i,
  /^["“*_]*(?:paraphras|rephras|reword|rewrit|restat|translat)/i,
  /^["“*_]*(?:hier|umformulier|übersetz|voici|aquí|ecco)/i,
  /^["“*_]*(?:以下|如下|下面|这|改|转述|重述|复述|换|另一|翻译|译文|您|你)/u,
];

/** Words that belong to a request for another wording; a text that has them without its original talks about itself. */
const ABOUT_ITSELF: readonly RegExp[] = [
  /\bparaphras|\brephras|\breword|\brewritten\b|\bI(?:['’]d| would) be (?:happy|glad) to\b/i,
  /\bhere(?:['’]s| is) (?:a|the|your|one|another) (?:possible )?(?:version|translation|text|sentence)/i,
  /改写|改述|转述(?:后|如下)|换个说法|以下是|如下[:：]/u,
];

/** The start of a paragraph after the text: "Let me know …", "希望这…". */
const CLOSINGS: readonly RegExp[] = [
  /^[([*_]*\s*(?:let me know|i hope|hope (?:this|that)|feel free|would you like|do you want|is there anything)/i,
  /^[([*_]*\s*(?:if you(?:['’]d| would)? (?:like|need|want)|i (?:have )?(?:kept|changed|replaced))/i,
  /^[([*_]*\s*(?:this (?:version|paraphrase|sentence|translation|keeps|maintains)|explanation\b)/i,
  /^[([*_]*\s*(?:translator['’]s )?note\b/i,
  /^[([（【*_]*\s*(?:希望|如果(?:您|你)|如需|需要我|请告诉我|请问(?:您|你)?还)/u,
  /^[([（【*_]*\s*(?:备注|(?:注|注意|说明|解释)[:：])/u,
];

const REFUSALS: readonly RegExp[] = [
  /\bas an ai\b/i,
  /\b(?:i['’]m|i am) (?:sorry|unable|not able)\b[^.]{0,40}\b(?:can(?:no|['’])t|unable|not able|assist|help|comply)/i,
  /\bi (?:can(?:no|['’])t|am unable to|won['’]t) (?:assist|help|comply|fulfil|paraphrase|rephrase|rewrite|translate)/i,
  /作为(?:一个|一名)?(?:AI|人工智能|语言模型)/u,
  /(?:抱歉|对不起)[^。！!]{0,20}(?:不能|无法)|(?:不能|无法)(?:改写|翻译|协助|提供|满足)/u,
];

const matchesAny = (patterns: readonly RegExp[], text: string): boolean =>
  patterns.some((pattern) => pattern.test(text));

const LIST_ITEM = /^\s*(?:\d{1,2}[.)、）]|[-*•]\s|(?:option|version|variant|方案|版本|选项)\s*[\dA-Da-d一二三四])/iu;

/** The longest introduction before a colon, in characters. */
const MAX_INTRODUCTION = 160;

const PAIRS: readonly (readonly [string, string])[] = [
  ['"', '"'],
  ['“', '”'],
  ['„', '“'],
  ['«', '»'],
  ['‘', '’'],
  ["'", "'"],
  ['「', '」'],
  ['『', '』'],
  ['**', '**'],
  ['__', '__'],
  ['*', '*'],
  ['`', '`'],
];

/** Removes a fence, quotation marks and emphasis around the whole text, unless the original has them. */
function withoutMarks(text: string, original: string): string {
  const fence = /^```[^\n`]{0,20}\n([\s\S]*?)\n?```$/.exec(text);
  if (fence?.[1] !== undefined && !original.includes('```')) return withoutMarks(fence[1].trim(), original);
  for (const [open, close] of PAIRS) {
    if (text.length <= open.length + close.length || !text.startsWith(open) || !text.endsWith(close)) continue;
    const inner = text.slice(open.length, -close.length);
    if (inner.includes(open) || inner.includes(close) || original.startsWith(open)) continue;
    return withoutMarks(inner.trim(), original);
  }
  return text;
}

/**
 * Returns the length of an introduction: up to the first colon that is not within a number, time or address, or the
 * first line. 0 if the text has none.
 */
function introductionLength(text: string): number {
  const start = text.slice(0, MAX_INTRODUCTION);
  const colon = /：|:(?![\d/])/.exec(start);
  if (colon && matchesAny(SUBJECTS, start.slice(0, colon.index + 1)) && matchesAny(FRAMES, start))
    return colon.index + 1;
  const line = start.indexOf('\n');
  return line !== -1 && matchesAny(ABOUT_ITSELF, start.slice(0, line)) ? line : 0;
}

/** Removes "Sure!" and an introduction, unless the original begins in the same way. */
function withoutIntroduction(text: string, original: string): string {
  const rest = matchesAny(OPENERS, original)
    ? text
    : OPENERS.reduce((shorter, opener) => shorter.replace(opener, ''), text);
  if (introductionLength(original) > 0) return rest;
  const length = introductionLength(rest);
  const after = rest.slice(length).replace(/^(?:\*\*|__)(?=\s)/, '');
  // An introduction without a text is refused later.
  return after.trim() === '' ? rest : after;
}

/** Removes the paragraphs after the text in which a model offers more or explains its changes. */
function withoutClosing(text: string, original: string): string {
  const paragraphs = text.split(/\n\s*\n/);
  const closing = paragraphs.findIndex((paragraph, index) => index > 0 && matchesAny(CLOSINGS, paragraph.trim()));
  if (closing === -1 || original.split(/\n\s*\n/).some((paragraph) => matchesAny(CLOSINGS, paragraph.trim())))
    return text;
  return paragraphs.slice(0, closing).join('\n\n');
}

const itemsIn = (text: string): number => text.split('\n').filter((line) => LIST_ITEM.test(line)).length;

/**
 * Returns the text of a reply to "say this in other words", without the words around it: its reasoning, "Sure! Here is
 * a paraphrase:", quotation marks, "Let me know …". Replies whose text cannot be told apart are refused. What the
 * original has, too, is text.
 */
export function unwrapReply(reply: string, original: string): Unwrapped {
  let text = reply.replace(/^\s*<think(?:ing)?>[\s\S]*?<\/think(?:ing)?>/i, '').trim();
  if (matchesAny(REFUSALS, text) && !matchesAny(REFUSALS, original)) return { refusal: 'refusal' };
  text = withoutClosing(text, original).trim();
  // An introduction may follow another one, and quotation marks may be around both.
  for (let round = 0; round < 3; round++)
    text = withoutMarks(withoutIntroduction(withoutMarks(text, original), original).trim(), original);
  if (text === '') return { refusal: 'empty' };
  if (itemsIn(text) > 1 && itemsIn(original) < 2) return { refusal: 'several texts' };
  if (matchesAny(ABOUT_ITSELF, text) && !matchesAny(ABOUT_ITSELF, original)) return { refusal: 'wrapped' };
  if (/<\/?think(?:ing)?>/i.test(text)) return { refusal: 'wrapped' };
  return { text };
}
