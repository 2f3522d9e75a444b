// Questions that a small model answers at length. Three sets without common topics: for generation during training, for
// choosing settings, and for the report.

const listed = (topics) =>
  topics.flatMap((topic, index) => [
    [
      `List one hundred ${topic}.`,
      `Name as many ${topic} as you can.`,
      `Give me a very long list of ${topic}.`,
      `Write down fifty ${topic}, one after the other.`,
    ][index % 4],
  ]);
const told = (topics) =>
  topics.flatMap((topic, index) => [
    [
      `Tell me a very long story about ${topic}.`,
      `Tell me everything you know about ${topic}.`,
      `Talk about ${topic} until you run out of words.`,
      `Write a long poem about ${topic}.`,
      `Describe ${topic} as thoroughly as you can.`,
      `Write a song with many verses about ${topic}.`,
    ][index % 6],
  ]);
const explained = (topics) =>
  topics.flatMap((topic, index) => [
    [
      `Explain in great detail how to ${topic}.`,
      `List all the steps to ${topic}.`,
      `Why should one ${topic}? Give every reason.`,
      `Write a long guide on how to ${topic}.`,
    ][index % 4],
  ]);

/** For generation during training, by the callback. */
const train = [
  ...listed([
    'birds',
    'musical instruments',
    'trees',
    'cities',
    'vegetables',
    'jobs',
    'tools',
    'spices',
    'rivers',
    'colours',
    'games',
    'metals',
  ]),
  ...told([
    'a lighthouse',
    'a wolf',
    'the moon',
    'a market',
    'winter',
    'a train',
    'an old soldier',
    'a river',
    'bread',
    'a garden',
    'the desert',
    'a school',
    'wind',
    'a ship',
    'two sisters',
    'a dragon',
    'mathematics',
    'the night',
  ]),
  ...explained([
    'bake bread',
    'learn a language',
    'plant a tree',
    'repair a bicycle',
    'get up early',
    'write a letter',
    'paint a wall',
    'train a dog',
    'save money',
    'catch a fish',
    'wash clothes',
    'prepare for an examination',
    'make a fire',
    'grow tomatoes',
    'tie a knot',
    'meet new people',
    'climb a mountain',
    'clean a kitchen',
  ]),
];

/** For choosing settings. */
const tune = [
  ...listed(['insects', 'sports', 'books', 'languages', 'breads', 'verbs']),
  ...told([
    'a bridge',
    'a fox',
    'the stars',
    'a village',
    'autumn',
    'a clockmaker',
    'snow',
    'a bakery',
    'a library',
    'thunder',
  ]),
  ...explained([
    'brew coffee',
    'play chess',
    'sew a shirt',
    'sleep well',
    'keep bees',
    'cross a river',
    'read a map',
    'run a marathon',
  ]),
];

/** For the report only. */
const test = [
  ...listed([
    'animals',
    'fruits',
    'countries',
    'flowers',
    'inventions',
    'words that begin with the letter s',
    'things in a house',
    'kinds of weather',
    'famous people',
    'dishes',
    'feelings',
    'vehicles',
  ]),
  ...told([
    'a king',
    'the sea',
    'music',
    'rain',
    'a forest',
    'love',
    'a farmer and his son',
    'the sun',
    'friendship',
    'a mountain',
    'a castle',
    'spring',
    'a thief',
    'history',
    'happiness',
    'fire',
    'a cat',
    'summer',
  ]),
  ...explained([
    'make tea',
    'build a house',
    'learn to read',
    'cook rice',
    'drive a car',
    'be a good friend',
    'swim',
    'write a book',
    'stay healthy',
    'start a business',
    'play the guitar',
    'take photographs',
    'travel the world',
    'cut hair',
    'help other people',
    'teach a child',
    'draw a horse',
    'ride a horse',
  ]),
];

export const promptSets = { train, tune, test };
