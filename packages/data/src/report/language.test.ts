import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { languageMismatch, languageOf } from './language.js';

interface Row {
  readonly conversation: readonly { readonly role: string; readonly content: string }[];
}

const dialogues = (name: string): readonly Row[] =>
  readFileSync(new URL(`../../../../examples/data/chatterbot-${name}.jsonl`, import.meta.url), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Row);

describe.each([
  ['English', 'en'],
  ['Chinese', 'zh'],
])('the shipped dialogues in %s', (language, code) => {
  const rows = [...dialogues(`${code}.train`), ...dialogues(`${code}.eval`)];

  test('no message and no conversation is in another language', () => {
    const texts = rows.flatMap(({ conversation }) => [
      ...conversation.map(({ content }) => content),
      conversation.map(({ content }) => content).join('\n'),
    ]);
    const foreign = texts.map((text) => [languageOf(text), text]);
    expect(foreign.filter(([found]) => found !== language && found !== 'unknown')).toEqual([]);
  });

  test('at most one conversation in 33 is unknown', () => {
    const whole = rows.map(({ conversation }) => languageOf(conversation.map(({ content }) => content).join('\n')));
    expect(whole.filter((found) => found === language).length / whole.length).toBeGreaterThan(0.97);
  });

  test('no answer is in another language than its question', () => {
    const mismatches = rows.flatMap(({ conversation }) => languageMismatch({ messages: conversation }) ?? []);
    expect(mismatches).toEqual([]);
  });
});

/** Short sentences as people write them to a shop or an assistant, by language. */
const sentences: Readonly<Record<string, readonly string[]>> = {
  English: ['Where is my parcel?', 'I want to change the address.', 'Can you help me with this?', 'That was quick.'],
  German: [
    'Wo ist mein Paket?',
    'Ich möchte die Adresse ändern.',
    'Können Sie mir bitte helfen?',
    'Das Gerät geht nicht mehr an.',
    'Warum habe ich noch keine Antwort?',
  ],
  French: [
    'Où est mon colis ?',
    "Je voudrais changer l'adresse.",
    "Pouvez-vous m'aider avec cette commande ?",
    "Je n'ai pas reçu la facture.",
    'Quand est-ce que vous livrez ?',
  ],
  Spanish: [
    '¿Dónde está mi paquete?',
    'Quiero cambiar la dirección.',
    'No me funciona el ordenador.',
    '¿Cuándo llega el pedido?',
    'donde esta mi pedido',
  ],
  Portuguese: [
    'Onde está a minha encomenda?',
    'Eu quero mudar o endereço.',
    'Você pode me ajudar com isso?',
    'O aparelho não liga mais.',
    'Quando vai chegar o meu pedido?',
  ],
  Italian: [
    "Dov'è il mio pacco?",
    "Vorrei cambiare l'indirizzo della spedizione.",
    'Non ho ricevuto la fattura.',
    'Quando arriva il mio ordine?',
    'Questo prodotto non mi piace.',
  ],
  Dutch: [
    'Waar is mijn pakket?',
    'Ik wil het adres wijzigen.',
    'Kunt u mij hiermee helpen?',
    'Het apparaat gaat niet meer aan.',
    'Wanneer komt mijn bestelling?',
  ],
  Polish: [
    'Gdzie jest moja paczka?',
    'Chcę zmienić adres dostawy, proszę.',
    'Czy może mi pan pomóc?',
    'Jeszcze nie mam tej faktury.',
  ],
  Swedish: [
    'Var är mitt paket?',
    'Jag vill ändra adressen.',
    'Kan du hjälpa mig med detta?',
    'Jag har inte fått någon faktura.',
  ],
  'Danish or Norwegian': ['Hvor er min pakke?', 'Jeg vil gerne ændre min adresse.', 'Hvorfor har jeg ikke fått svar?'],
  Turkish: [
    'Paketim nerede, lütfen?',
    'Bu ürün çok güzel ama pahalı.',
    'Ne zaman gelecek ve nasıl?',
    'Ben bunu istemiyorum, teşekkür ederim.',
  ],
  Romanian: [
    'Unde este pachetul meu?',
    'Vreau să schimb adresa.',
    'Nu am primit încă factura.',
    'Cum pot să plătesc cu cardul?',
  ],
  Czech: ['Kde je můj balík?', 'Chci změnit adresu, prosím.', 'Ještě jsem nedostal fakturu.', 'Kdy to bude hotové?'],
  Hungarian: [
    'Hol van a csomagom?',
    'Szeretném megváltoztatni a címet.',
    'Még nem kaptam meg a számlát.',
    'Mikor jön meg az áru?',
  ],
  Finnish: ['Missä minun pakettini on?', 'Haluan vaihtaa osoitteen, kiitos.', 'Miksi en ole vielä saanut laskua?'],
  Vietnamese: [
    'Gói hàng của tôi ở đâu?',
    'Tôi muốn đổi địa chỉ.',
    'Khi nào thì hàng đến?',
    'Bạn có thể giúp tôi không?',
  ],
  'Indonesian or Malay': [
    'Di mana paket saya?',
    'Saya ingin mengubah alamat ini.',
    'Kapan pesanan saya akan tiba?',
    'Apakah Anda bisa membantu saya?',
  ],
  Chinese: ['我的包裹在哪里？', '你好', '我想改一下地址。', '请用 Python 写一个排序函数。', 'E=mc² 是什么意思？'],
  Japanese: ['荷物はどこですか。', '住所を変更したいです。', 'ありがとうございます'],
  Korean: ['제 소포는 어디에 있나요?', '주소를 바꾸고 싶어요.'],
  'Russian and others (Cyrillic)': ['Где моя посылка?', 'Я хочу изменить адрес.'],
  Arabic: ['أين طردي؟', 'أريد تغيير العنوان.'],
  Greek: ['Πού είναι το δέμα μου;', 'Θέλω να αλλάξω διεύθυνση.'],
  Thai: ['พัสดุของฉันอยู่ที่ไหน'],
  Hebrew: ['איפה החבילה שלי?'],
  'Hindi and others (Devanagari)': ['मेरा पार्सल कहाँ है?'],
};

describe('short sentences', () => {
  const found = Object.entries(sentences).flatMap(([language, texts]) =>
    texts.map((text) => ({ language, text, found: languageOf(text) })),
  );

  test('are never taken for another language', () => {
    expect(found.filter((one) => one.found !== one.language && one.found !== 'unknown')).toEqual([]);
  });

  test('nine in ten are recognized', () => {
    const missed = found.filter((one) => one.found === 'unknown');
    expect(missed.length / found.length, JSON.stringify(missed)).toBeLessThan(0.1);
  });
});

test('short, doubtful and mixed texts are unknown', () => {
  for (const text of [
    '',
    '123',
    'Ok',
    'iPhone 15 Pro Max',
    'Mona Lisa, Leonardo da Vinci',
    'π ≈ 3.14159',
    'La Paz',
    'Lorem ipsum dolor sit amet, consectetur adipiscing elit',
    'Où est mon colis ? Je ne l’ai pas reçu. Where is my parcel? I have not received it.',
    'haha lol',
  ])
    expect(languageOf(text), text).toBe('unknown');
});

test('code is set aside', () => {
  expect(languageOf('```python\ndef le(la, les):\n    return une\n```')).toBe('unknown');
  expect(languageOf('let en = de(la);\nconst el = las[por];')).toBe('unknown');
  expect(languageOf('Here is how you do it:\n\n```js\nfor (const el of las) { die(das, der); }\n```')).toBe('English');
  expect(languageOf('So geht das mit der Schleife:\n\n    for (const the of these) what(are);\n')).toBe('German');
});

test('answers in another language than their questions', () => {
  const messages = (question: string, answer: string) => ({
    messages: [
      { role: 'user', content: question },
      { role: 'assistant', content: answer },
    ],
  });
  expect(languageMismatch(messages('Where is my parcel?', 'Wir haben es noch nicht gefunden.'))).toEqual([
    'English',
    'German',
  ]);
  expect(languageMismatch(messages('Where is my parcel?', 'Alexandria'))).toBeNull();
  expect(languageMismatch(messages('How do I print this?', '```js\nconsole.log(la, el);\n```'))).toBeNull();
});
