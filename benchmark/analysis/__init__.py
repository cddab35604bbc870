"""From a results folder to data frames: sections, comparisons, detections. No torch, no pictures."""
