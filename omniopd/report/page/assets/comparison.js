// The page of a comparison: curves at once, answers as soon as they are unpacked.

Charts.show();
Data.payload("answers").then((answers) => {
  Answers.begin(answers);
  document.body.dataset.ready = "true";
});
