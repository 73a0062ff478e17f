// The page of a run: curves at once, trajectories as soon as they are unpacked.

Charts.show();
Data.payload("trajectories").then((trajectories) => {
  Reading.begin();
  Find.begin(trajectories, Reading.open);
  document.body.dataset.ready = "true";
});
