use super::*;
use crate::eval::detection::Rect;
use std::fs;

const XML: &str = "<annotation><folder>VOC2007</folder><filename>000005.jpg</filename>
  <size><width>500</width><height>375</height><depth>3</depth></size>
  <object><name>chair</name><pose>Rear</pose><truncated>0</truncated><difficult>0</difficult>
    <bndbox><xmin>263</xmin><ymin>211</ymin><xmax>324</xmax><ymax>339</ymax></bndbox></object>
  <object><name>bottle</name><difficult>1</difficult>
    <bndbox><xmin>1</xmin><ymin>1</ymin><xmax>500.0</xmax><ymax>1</ymax></bndbox></object></annotation>";

const JSON: &str = r#"{"info": {}, "licenses": [],
  "images": [{"id": 9, "file_name": "b.jpg", "width": 64}, {"id": 4, "file_name": "a.jpg"}],
  "categories": [{"id": 18, "name": "dog", "supercategory": "animal"}, {"id": 7, "name": "cat"}],
  "annotations": [
    {"id": 1, "image_id": 9, "category_id": 18, "bbox": [1.5, 2, 30, 40.25], "area": 9, "iscrowd": 0, "segmentation": []},
    {"id": 2, "image_id": 9, "category_id": 7, "bbox": [0, 0, 5, 6], "iscrowd": 1},
    {"id": 3, "image_id": 9, "category_id": 7, "bbox": [0, 0, 0, 6], "iscrowd": 0}]}"#;

#[test]
fn a_pascal_voc_folder() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("Annotations");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("000005.xml"), XML).unwrap();
    fs::write(folder.join("000001.xml"), "<annotation><size/></annotation>").unwrap();
    fs::write(folder.join("notes.txt"), "not XML").unwrap();
    let set = Annotations::open(dir.path(), None).unwrap();
    assert_eq!(set.classes, ["bottle", "chair"]);
    let pictures = dir.path().join("JPEGImages");
    assert_eq!(set.pictures[0], Annotated { path: pictures.join("000001.jpg"), truths: vec![] });
    assert_eq!(set.pictures[1].path, pictures.join("000005.jpg"));
    let rect = |x, y, width, height| Rect { x, y, width, height };
    assert_eq!(
        set.pictures[1].truths,
        [
            Truth { rect: rect(262.0, 210.0, 62.0, 129.0), class: 1, crowd: false, ignore: false },
            Truth { rect: rect(0.0, 0.0, 500.0, 1.0), class: 0, crowd: false, ignore: true },
        ]
    );
}

#[test]
fn a_coco_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("instances.json");
    fs::write(&file, JSON).unwrap();
    let set = Annotations::open(dir.path(), Some(&file)).unwrap();
    assert_eq!(set.classes, ["cat", "dog"]);
    assert_eq!(set.pictures[0], Annotated { path: dir.path().join("a.jpg"), truths: vec![] });
    let rect = |x, y, width, height| Rect { x, y, width, height };
    assert_eq!(
        set.pictures[1].truths,
        [
            Truth { rect: rect(1.5, 2.0, 30.0, 40.25), class: 1, crowd: false, ignore: false },
            Truth { rect: rect(0.0, 0.0, 5.0, 6.0), class: 0, crowd: true, ignore: false },
            Truth { rect: rect(0.0, 0.0, 0.0, 6.0), class: 0, crowd: false, ignore: false },
        ]
    );
}

#[test]
fn what_is_wrong_is_said_with_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let (xml, json) = (dir.path().join("x.xml"), dir.path().join("coco.json"));
    let voc = |text: &str| {
        fs::write(&xml, text).unwrap();
        Annotations::open(dir.path(), Some(dir.path())).unwrap_err().to_string()
    };
    assert!(voc("<annotation>").contains("x.xml"));
    assert!(voc("<html/>").contains("<html> where Pascal VOC has <annotation>"));
    assert!(voc(&XML.replace("<xmax>324", "<xmax>wide")).contains("`chair` is no number"));
    assert!(voc(&XML.replace("<xmax>324", "<xmax>nan")).contains("`chair` is no number"));
    let coco = |text: &str| {
        fs::write(&json, text).unwrap();
        Annotations::open(dir.path(), Some(&json)).unwrap_err().to_string()
    };
    assert!(coco("{}").contains("coco.json: not COCO's object annotations"));
    assert!(coco(&JSON.replace("\"category_id\": 18", "\"category_id\": 3")).contains("category 3 is not"));
    assert!(
        coco(&JSON.replace("\"image_id\": 9, \"category_id\": 7", "\"image_id\": 5, \"category_id\": 7"))
            .contains("image 5")
    );
    assert!(coco(r#"{"images": [], "annotations": [], "categories": []}"#).contains("no annotated picture"));
    assert!(Annotations::open(&dir.path().join("none"), None).is_err());
}

#[test]
fn pictures_are_squeezed_with_their_boxes() {
    let dir = tempfile::tempdir().unwrap();
    // 40 × 20 pixels, the box bright.
    let bright = |x: u32, y: u32| (8..24).contains(&x) && (5..15).contains(&y);
    let picture =
        image::GrayImage::from_fn(40, 20, |x, y| image::Luma([if bright(x, y) { 200 } else { 10 }]));
    let truth = Truth {
        rect: Rect { x: 8.0, y: 5.0, width: 16.0, height: 10.0 },
        class: 0,
        crowd: false,
        ignore: false,
    };
    let pictures = (0..10)
        .map(|i| {
            let path = dir.path().join(format!("{i}.png"));
            picture.save(&path).unwrap();
            Annotated { path, truths: vec![truth; i] }
        })
        .collect();
    let set = Annotations { classes: vec!["thing".into()], pictures, ..Annotations::default() };
    let ([train, test], notes) = set.scenes(20, 3, 0.0).unwrap();
    assert!(notes.is_empty(), "{notes:?}");
    assert_eq!((train.len(), test.len()), (8, 2));
    let mut counts: Vec<usize> = train.iter().chain(&test).map(|scene| scene.truths.len()).collect();
    counts.sort_unstable();
    assert_eq!(counts, (0..10).collect::<Vec<_>>());
    let scene = set.pictures[1].scene(20, 3).unwrap();
    assert_eq!(scene.truths[0].rect, Rect { x: 4.0, y: 5.0, width: 8.0, height: 10.0 });
    // Across, each pixel is a mean over four: those next to an edge are mixed.
    let at = |x: usize, y: usize| scene.image.pixels[(y * 20 + x) * 3];
    assert_eq!(
        [at(5, 5), at(10, 14), at(2, 5), at(13, 14), at(5, 4), at(10, 15)],
        [200, 200, 10, 10, 10, 10]
    );
    let few = Annotations { pictures: set.pictures[..4].to_vec(), ..set.clone() };
    assert!(few.scenes(20, 1, 0.0).unwrap_err().to_string().contains("4 annotated pictures"));
}

#[test]
fn names_without_an_ending_find_their_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let [folder, pictures] = ["Annotations", "JPEGImages"].map(|name| dir.path().join(name));
    fs::create_dir(&folder).unwrap();
    fs::create_dir(&pictures).unwrap();
    for name in ["a.png", "b.jpeg", "c.jpg", "c.png", "d", "e.2.png"] {
        fs::write(pictures.join(name), "").unwrap();
    }
    for name in ["a", "b", "c", "d", "e.2", "gone", "gone.PNG"] {
        let text = format!("<annotation><filename>{name}</filename></annotation>");
        fs::write(folder.join(format!("{name}.xml")), text).unwrap();
    }
    let found = Annotations::open(dir.path(), None).unwrap().pictures;
    let names: Vec<_> =
        found.iter().map(|p| p.path.strip_prefix(&pictures).unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["a.png", "b.jpeg", "c.jpg", "d", "e.2.png", "gone.PNG", "gone.jpg"]);
}

/// A VOC folder of pictures 0 to `count` − 1 without objects, with these lists.
fn voc(count: usize, lists: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (folder, sets) = (dir.path().join("Annotations"), dir.path().join("ImageSets/Main"));
    fs::create_dir(&folder).unwrap();
    (0..count).for_each(|i| fs::write(folder.join(format!("{i}.xml")), "<annotation/>").unwrap());
    fs::create_dir_all(&sets).unwrap();
    for (name, text) in lists {
        fs::write(sets.join(format!("{name}.txt")), text).unwrap();
    }
    dir
}

#[test]
fn a_split_of_its_own_is_kept() {
    let open = |dir: &tempfile::TempDir| Annotations::open(dir.path(), None);
    let lists = [("train", "0\n1\n"), ("val", "3\r\n"), ("trainval", "3\n0\n1\n"), ("cat_train", "0 -1\n")];
    let set = open(&voc(6, &[&lists[..], &[("test", "5\n2\n")]].concat())).unwrap();
    assert_eq!(set.split, Some([vec![0, 1, 3], vec![2, 5]]));
    assert!(set.notes[0].ends_with("trainval to learn from, test to judge on"), "{:?}", set.notes);
    // As in VOC 2012, whose test pictures come without annotations.
    let set = open(&voc(6, &[&lists[..], &[("test", "7\n8\n")]].concat())).unwrap();
    assert_eq!(set.split, Some([vec![0, 1], vec![3]]));
    assert!(set.notes[0].contains("2 of the 2 pictures of") && set.notes[1].contains("val to judge on"));
    // Train and val together where there is no trainval.
    let set = open(&voc(6, &[("train", "0\n"), ("val", "1\n"), ("test", "4")])).unwrap();
    assert_eq!(set.split, Some([vec![0, 1], vec![4]]));
    let set = open(&voc(6, &lists[2..])).unwrap();
    assert!(set.split.is_none() && set.notes[0].contains("has no two lists"), "{:?}", set.notes);
    let error = open(&voc(6, &[("trainval", "0\n3\n"), ("test", "3\n")])).unwrap_err().to_string();
    assert!(error.contains("`3` is listed in trainval and in test"), "{error}");
}

/// Ten gray pictures of 40 × 20 pixels, each with the boxes given.
fn gray(dir: &std::path::Path, boxes: &[[f64; 4]]) -> Annotations {
    let truth = |&[x, y, width, height]: &[f64; 4]| Truth {
        rect: Rect { x, y, width, height },
        class: 0,
        crowd: false,
        ignore: false,
    };
    let picture = |i: usize| {
        let path = dir.join(format!("{i}.png"));
        image::GrayImage::new(40, 20).save(&path).unwrap();
        Annotated { path, truths: boxes.iter().map(truth).collect() }
    };
    Annotations {
        classes: vec!["thing".into()],
        pictures: (0..10).map(picture).collect(),
        ..Default::default()
    }
}

#[test]
fn unreadable_pictures_are_skipped_up_to_a_share() {
    let dir = tempfile::tempdir().unwrap();
    let set = gray(dir.path(), &[]);
    fs::write(dir.path().join("3.png"), "no picture").unwrap();
    let ([train, test], notes) = set.scenes(20, 1, 0.1).unwrap();
    assert_eq!(train.len() + test.len(), 9);
    assert!(
        notes[0].starts_with("1 of 10 pictures cannot be read") && notes[0].contains("3.png"),
        "{notes:?}"
    );
    let error = set.scenes(20, 1, 0.09).unwrap_err().to_string();
    assert!(error.contains("1 of 10 files cannot be read") && error.contains("3.png"), "{error}");
    // The pictures that were listed, and no others, are read and counted.
    let split = Annotations { split: Some([vec![5, 1], vec![0]]), ..set.clone() };
    let ([train, test], notes) = split.scenes(20, 1, 0.0).unwrap();
    assert_eq!((train.len(), test.len(), notes.len()), (2, 1, 0));
    let none = Annotations { split: Some([vec![5], vec![3]]), ..set };
    assert!(none.scenes(20, 1, 1.0).unwrap_err().to_string().contains("no picture of a split can be read"));
}

#[test]
fn boxes_are_cut_to_their_pictures_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    // Rounded only; across the right edge; beyond it; of no width.
    let set = gray(
        dir.path(),
        &[[0.0, 0.0, 40.004, 20.0], [30.0, 5.0, 20.0, 10.0], [40.0, 0.0, 5.0, 5.0], [1.0, 1.0, 0.0, 5.0]],
    );
    let ([train, _], notes) = set.scenes(20, 1, 0.0).unwrap();
    let rects: Vec<Rect> = train[0].truths.iter().map(|t| t.rect).collect();
    let rect = |x, y, width, height| Rect { x, y, width, height };
    assert_eq!(rects, [rect(0.0, 0.0, 20.0, 20.0), rect(15.0, 5.0, 5.0, 10.0)]);
    assert!(
        notes[0].starts_with("10 boxes reach out of their pictures") && notes[0].contains("20 have nothing"),
        "{notes:?}"
    );
}

#[test]
fn a_second_set_is_to_judge_on() {
    let [dir, other] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let rect = [1.0, 1.0, 4.0, 4.0];
    let set = Annotations { split: Some([vec![0], vec![1]]), ..gray(dir.path(), &[rect]) };
    let cats = Annotations { classes: vec!["cat".into()], ..gray(other.path(), &[rect]) };
    let both = set.clone().judged_on(cats).unwrap();
    assert_eq!(both.classes, ["cat", "thing"]);
    assert_eq!(both.split, Some([(0..10).collect(), (10..20).collect()]));
    assert_eq!([0, 10].map(|i: usize| both.pictures[i].truths[0].class), [1, 0]);
    assert!(both.pictures[10].path.starts_with(other.path()));
    assert!(both.notes[0].contains("class `cat` is only in the set to judge on"), "{:?}", both.notes);
    let error = set.clone().judged_on(set).unwrap_err().to_string();
    assert!(error.contains("0.png") && error.contains("to learn from and in the set to judge on"), "{error}");
}
