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
    assert!(voc(&XML.replace("<xmax>324", "<xmax>262")).contains("the box of `chair` is 0 × 129"));
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
    let set = Annotations { classes: vec!["thing".into()], pictures };
    let [train, test] = set.scenes(20, 3).unwrap();
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
    assert!(few.scenes(20, 1).unwrap_err().to_string().contains("4 annotated pictures"));
}
